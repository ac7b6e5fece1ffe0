// Package propose reads a department's raw file once, on the department's own
// machine, and proposes how its columns might be described and graded: types,
// identifiers with the evidence for them, levels with their reasons. What it says of
// a file is names of columns, counts and words of its own dictionary, never a value.
// It decides nothing: a person does, and signs.
//
// Meaning comes from what is declared and what columns are called. Values only
// support or contradict it: a column of diagnoses whose title ends in "name" is not a
// person's name, and a number that passes Luhn's check is not thereby a card.
package propose

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/sandgate/sandgate/policies"
)

//go:embed dictionary.yaml
var dictionaryText []byte

// Dictionary are the words that proposals rest on. It is read only and may be used
// by several goroutines.
type Dictionary struct {
	Identifiers []identifierWords `yaml:"identifiers"`
	Classes     []classWords      `yaml:"classes"`
	Quasi       []quasiWords      `yaml:"quasi"`
	Context     []contextWords    `yaml:"context"`
	Missing     []string          `yaml:"missing"`
}

type words struct {
	Names  []string `yaml:"names"`
	Whole  []string `yaml:"whole"`
	Titles []string `yaml:"titles"`
}

type identifierWords struct {
	Kind  policies.IdentifierKind `yaml:"kind"`
	Level int                     `yaml:"level"`
	words `yaml:",inline"`
}

type classWords struct {
	Class string        `yaml:"class"`
	Basis string        `yaml:"basis"`
	Level int           `yaml:"level"`
	Title policies.Text `yaml:"title"`
	words `yaml:",inline"`
}

type quasiWords struct {
	Level int `yaml:"level"`
	words `yaml:",inline"`
}

type contextWords struct {
	Level int    `yaml:"level"`
	Class string `yaml:"class"`
	words `yaml:",inline"`
}

// DefaultDictionary returns the dictionary that comes with the program.
func DefaultDictionary() (*Dictionary, error) { return ParseDictionary(dictionaryText) }

// ParseDictionary reads a dictionary; a city may have words of its own.
func ParseDictionary(text []byte) (*Dictionary, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	d := &Dictionary{}
	if err := dec.Decode(d); err != nil {
		return nil, fmt.Errorf("failed to read dictionary: %w", err)
	}
	level := func(l int) error {
		if l < 1 || l > 6 {
			return errors.New("failed to read dictionary: a level is not in 1…6")
		}
		return nil
	}
	for _, w := range d.Identifiers {
		if err := level(w.Level); err != nil {
			return nil, err
		}
	}
	for _, w := range d.Classes {
		if err := level(w.Level); err != nil {
			return nil, err
		}
	}
	for _, w := range d.Quasi {
		if err := level(w.Level); err != nil {
			return nil, err
		}
	}
	for _, w := range d.Context {
		if err := level(w.Level); err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(d.Classes, func(c classWords) bool { return c.Class == w.Class }) {
			return nil, fmt.Errorf("failed to read dictionary: context names class %q, which it does not have", w.Class)
		}
	}
	return d, nil
}

// term is what a column or a data set is called.
type term struct {
	name   string   // lower case
	tokens []string // whole words of the name
	title  string   // Chinese title without remarks in brackets
}

func termOf(name, title string) term {
	if i := strings.IndexAny(title, "（("); i > 0 {
		title = title[:i]
	}
	return term{name: strings.ToLower(name), tokens: tokens(name), title: strings.TrimSpace(title)}
}

// tokens cuts a name at _, -, blanks, digits and where a capital follows a small
// letter: "diabetesMed" is diabetes and med, "diagnosis_name" diagnosis and name.
func tokens(name string) []string {
	var out []string
	var word []rune
	flush := func() {
		if len(word) > 0 {
			out = append(out, strings.ToLower(string(word)))
			word = word[:0]
		}
	}
	small := false
	for _, r := range name {
		switch {
		case !unicode.IsLetter(r):
			flush()
			small = false
			continue
		case unicode.IsUpper(r) && small:
			flush()
		}
		word = append(word, r)
		small = unicode.IsLower(r)
	}
	flush()
	return out
}

// match says which word of w a term has, "" for none. In an identifier's title the
// word must stand at the end: the "name" of a disease is none of a person.
func (w words) match(t term, atEnd bool) string {
	if slices.Contains(w.Whole, t.name) {
		return t.name
	}
	for _, n := range w.Names {
		if hasRun(t.tokens, strings.Fields(n)) {
			return n
		}
	}
	for _, n := range w.Titles {
		if t.title != "" && (atEnd && strings.HasSuffix(t.title, n) || !atEnd && strings.Contains(t.title, n)) {
			return n
		}
	}
	return ""
}

// hasRun says whether run stands in tokens, in order and without a gap.
func hasRun(tokens, run []string) bool {
	for i := 0; len(run) > 0 && i+len(run) <= len(tokens); i++ {
		if slices.Equal(tokens[i:i+len(run)], run) {
			return true
		}
	}
	return false
}
