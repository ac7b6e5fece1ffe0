package policies

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// KindGradingScheme is a grading scheme 分级方案, set by the regulator.
const KindGradingScheme Kind = "GradingScheme"

// SchemeGBT43697 is the built-in scheme and the one scale on which everything
// inside works: general data 1…4, important 5, core 6.
const SchemeGBT43697 = "GB/T 43697-2024"

// Levels of GB/T 43697-2024 as one ordered scale.
const (
	lowestLevel  = 1
	highestLevel = 6
)

// LevelName is a level in the vocabulary of a scheme, such as "3", "L3" or "C2".
type LevelName string

// GradingScheme is one vocabulary of levels and what each of them means on the
// scale of GB/T 43697-2024. The mapping is the regulator's decision: the trades'
// standards name no counterpart. Two vocabularies under one name are how a level 3
// of one comes to be treated as a level 3 of the other.
type GradingScheme struct {
	ID     string        `yaml:"id" json:"id"` // as a Grading names it, such as "JR/T 0197-2020"
	Title  Text          `yaml:"title" json:"title"`
	Levels []SchemeLevel `yaml:"levels" json:"levels"`
	// Mapping gives every level its counterpart, 1…6; a higher level never has a
	// lower one.
	Mapping map[LevelName]int `yaml:"mapping" json:"mapping"`
}

// SchemeLevel is one level of a scheme.
type SchemeLevel struct {
	ID    LevelName `yaml:"id" json:"id"`
	Title Text      `yaml:"title" json:"title"`
	Order int       `yaml:"order" json:"order"` // rank inside the scheme: the higher, the stricter
}

// UnmarshalYAML reads a level: text or a whole number. A fraction or a truth value
// is no level of any scheme, and its error does not repeat what stands there.
func (n *LevelName) UnmarshalYAML(node *yaml.Node) error {
	tag := node.ShortTag()
	if node.Kind != yaml.ScalarNode || tag != "!!str" && tag != "!!int" || !goodLevelName(node.Value) {
		return texts.Errorf("line %d: a level is a whole number or a name like L3, at most 16 letters, digits, _, . and -", node.Line)
	}
	*n = LevelName(node.Value)
	return nil
}

var (
	levelPattern  = regexp.MustCompile(`^[\p{L}\p{N}][\p{L}\p{N}_.-]*$`)
	schemePattern = regexp.MustCompile(`^[\p{L}\p{N}][\p{L}\p{N} ./_-]*$`)
)

func goodLevelName(s string) bool {
	return utf8.RuneCountInString(s) <= 16 && levelPattern.MatchString(s) && !longNumber.MatchString(s)
}

// builtinScheme is GB/T 43697-2024 (in force 2024-10-01): general data has four
// levels by its annex H, above them important and core data.
func builtinScheme() GradingScheme {
	s := GradingScheme{ID: SchemeGBT43697, Title: Text{ZH: "数据安全技术 数据分类分级规则", EN: "Rules for data classification and grading"}, Mapping: map[LevelName]int{}}
	titles := []Text{{"一般数据 1 级", "General, level 1"}, {"一般数据 2 级", "General, level 2"}, {"一般数据 3 级", "General, level 3"},
		{"一般数据 4 级", "General, level 4"}, {"重要数据", "Important"}, {"核心数据", "Core"}}
	for i, t := range titles {
		name := LevelName(strconv.Itoa(lowestLevel + i))
		s.Levels = append(s.Levels, SchemeLevel{ID: name, Title: t, Order: i + 1})
		s.Mapping[name] = lowestLevel + i
	}
	return s
}

// maxSchemeLevels of a scheme; those in use have five.
const maxSchemeLevels = 32

// checkScheme refuses a scheme whose levels could be read in two ways, or that
// says of a level too little, too much or the wrong way round.
func checkScheme(s GradingScheme) error {
	if utf8.RuneCountInString(s.ID) > 63 || !schemePattern.MatchString(s.ID) || longNumber.MatchString(s.ID) {
		return texts.Errorf("id must be a name such as JR/T 0197-2020: letters, digits, spaces, . / _ and -, at most 63")
	}
	if s.ID == SchemeGBT43697 {
		return texts.Errorf("%q is built in and cannot be set", s.ID)
	}
	if s.Title.ZH == "" {
		return texts.Errorf("title.zh is missing")
	}
	if len(s.Levels) == 0 || len(s.Levels) > maxSchemeLevels {
		return texts.Errorf("a scheme has 1 to %d levels", maxSchemeLevels)
	}
	seen, orders := map[LevelName]bool{}, map[int]bool{}
	for _, l := range s.Levels {
		// A misread field leaves an empty id behind.
		if !goodLevelName(string(l.ID)) {
			return texts.Errorf("a level has no id")
		}
		if l.Title.ZH == "" {
			return texts.Errorf("level %q: title.zh is missing", l.ID)
		}
		if seen[l.ID] {
			return texts.Errorf("level %q stands twice", l.ID)
		}
		if orders[l.Order] {
			return texts.Errorf("level %q: order %d stands twice; levels are strictly ordered", l.ID, l.Order)
		}
		seen[l.ID], orders[l.Order] = true, true
	}
	return checkMapping(s)
}

func checkMapping(s GradingScheme) error {
	for _, id := range slices.Sorted(maps.Keys(s.Mapping)) {
		if !slices.ContainsFunc(s.Levels, func(l SchemeLevel) bool { return l.ID == id }) {
			return texts.Errorf("mapping names level %q, which the scheme does not have", id)
		}
	}
	levels := slices.Clone(s.Levels)
	slices.SortFunc(levels, func(x, y SchemeLevel) int { return x.Order - y.Order })
	last := lowestLevel
	for _, l := range levels {
		to, ok := s.Mapping[l.ID]
		switch {
		case !ok:
			return texts.Errorf("mapping lacks level %q: every level is mapped to %s", l.ID, SchemeGBT43697)
		case to < lowestLevel || to > highestLevel:
			return texts.Errorf("mapping of level %q is not in %d…%d (general 1–4, important 5, core 6)", l.ID, lowestLevel, highestLevel)
		case to < last:
			return texts.Errorf("mapping of level %q is below that of a lower level: a mapping never turns the order round", l.ID)
		}
		last = to
	}
	return nil
}

// Scheme returns a grading scheme in force by its id; GB/T 43697-2024 is always.
func (b *Book) Scheme(id string) (GradingScheme, bool) {
	if id == SchemeGBT43697 {
		return builtinScheme(), true
	}
	s, ok := b.schemes[id]
	return s, ok
}

// Schemes lists the ids of the schemes in force in order.
func (b *Book) Schemes() []string {
	ids := append(slices.Collect(maps.Keys(b.schemes)), SchemeGBT43697)
	slices.Sort(ids)
	return ids
}

func (b *Book) putScheme(s GradingScheme, a act) error {
	if !a.signers[b.root] {
		return texts.Errorf("signature of the regulator %q is missing", b.root)
	}
	if err := checkScheme(s); err != nil {
		return texts.Errorf("grading scheme %q: %w", safeName(s.ID), err)
	}
	if old, ok := b.schemes[s.ID]; ok && sameScale(old, s) {
		b.schemes[s.ID] = s // titles mean nothing to a grading
		return nil
	}
	b.schemes[s.ID] = s
	// What a department said in the old vocabulary may mean something else in the
	// new one: nothing runs on it until the department says it again (R16).
	for id, e := range b.datasets {
		if e.Scheme == s.ID {
			e.Levels, e.Scheme = nil, ""
			b.datasets[id] = e
		}
	}
	return nil
}

// sameScale says whether two texts of a scheme have the same levels in the same
// order with the same mapping.
func sameScale(x, y GradingScheme) bool {
	key := func(s GradingScheme) []LevelName {
		levels := slices.Clone(s.Levels)
		slices.SortFunc(levels, func(a, b SchemeLevel) int { return a.Order - b.Order })
		var ids []LevelName
		for _, l := range levels {
			ids = append(ids, l.ID)
		}
		return ids
	}
	return slices.Equal(key(x), key(y)) && maps.Equal(x.Mapping, y.Mapping)
}

// mapped brings the levels of one data set from a scheme's vocabulary to the scale
// of GB/T 43697-2024.
func (b *Book) mapped(scheme string, levels map[string]LevelName) (map[string]int, error) {
	s, ok := b.Scheme(scheme)
	if !ok {
		return nil, b.unknownScheme(scheme)
	}
	out := map[string]int{}
	for _, column := range slices.Sorted(maps.Keys(levels)) {
		to, ok := s.Mapping[levels[column]]
		if !ok {
			return nil, texts.Errorf("column %q: %w", safeName(column), b.foreignLevel(s, levels[column]))
		}
		out[column] = to
	}
	return out, nil
}

func (b *Book) unknownScheme(id string) error {
	shown := id
	if longNumber.MatchString(id) || !schemePattern.MatchString(id) || utf8.RuneCountInString(id) > 63 {
		shown = safeName(id)
	}
	return texts.Errorf("unknown grading scheme %q; known: %s; the regulator sets others by a %s document", shown, strings.Join(b.Schemes(), ", "), KindGradingScheme)
}

// foreignLevel names a level that a scheme does not have, and the schemes it was
// perhaps taken from.
func (b *Book) foreignLevel(s GradingScheme, level LevelName) error {
	var own []string
	for _, l := range s.Levels {
		own = append(own, string(l.ID))
	}
	var others []string
	for _, id := range b.Schemes() {
		if other, _ := b.Scheme(id); id != s.ID {
			if _, ok := other.Mapping[level]; ok {
				others = append(others, id)
			}
		}
	}
	if len(others) > 0 {
		return texts.Errorf("level %q is not a level of scheme %q, which has %s; it is one of %s: a grading speaks one vocabulary", safeName(string(level)), s.ID, strings.Join(own, ", "), strings.Join(others, ", "))
	}
	return texts.Errorf("level %q is not a level of scheme %q, which has %s", safeName(string(level)), s.ID, strings.Join(own, ", "))
}

// levelsIn maps a Grading's levels of a data set with nothing but the schemes of the
// same bundle and the built-in one: for looking at a bundle before it is applied.
func levelsIn(docs []Document, g Grading, dataset string) (map[string]int, error) {
	b := &Book{schemes: map[string]GradingScheme{}}
	for _, d := range docs {
		if s, ok := d.Body.(*GradingScheme); ok {
			b.schemes[s.ID] = *s
		}
	}
	if _, ok := b.Scheme(g.Scheme); !ok {
		return nil, b.unknownScheme(g.Scheme)
	}
	return b.mapped(g.Scheme, g.Levels[dataset])
}
