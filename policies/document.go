package policies

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxBundleBytes caps the text of one policy bundle.
const MaxBundleBytes = 4 << 20

// maxDocuments of one bundle: many small ones cost more to read than they say.
const maxDocuments = 64

// Document is one parsed document of a bundle; exactly the field that Kind
// names is set.
type Document struct {
	Kind       Kind
	Registry   *Registry
	Catalogue  *Catalogue
	Grading    *Grading
	Masking    *Masking
	Disclosure *Disclosure
	Licence    *Licence
	Revocation *Revocation
	// Body is a pointer to the document of every other kind.
	Body any
}

// ParseBundle reads a multi-document YAML bundle. Unknown kinds and unknown
// fields are refused: a misspelt field would otherwise silently loosen a rule.
func ParseBundle(text []byte) ([]Document, error) {
	if len(text) > MaxBundleBytes {
		return nil, texts.Errorf("bundle is larger than %d bytes", MaxBundleBytes)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var docs []Document
	for n := 1; ; n++ {
		var node yaml.Node
		if err := dec.Decode(&node); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, malformed(n, err, own, nil)
		}
		if n > maxDocuments {
			return nil, texts.Errorf("bundle holds more than %d documents", maxDocuments)
		}
		if line := alias(&node); line > 0 {
			return nil, texts.Errorf("document %d: line %d: aliases and merge keys are not allowed; write the text out", n, line)
		}
		doc, err := parseDocument(n, &node)
		if err != nil {
			return nil, err
		}
		docs = append(docs, doc)
	}
	if len(docs) == 0 {
		return nil, texts.Errorf("bundle holds no document")
	}
	return docs, nil
}

// alias returns the line of the first alias or merge key, 0 without any. What
// departments sign must read the same to a person as to the program, and aliases
// are also how a small text unfolds into a huge one.
func alias(node *yaml.Node) int {
	if node.Kind == yaml.AliasNode || node.Tag == "!!merge" {
		return node.Line
	}
	for _, c := range node.Content {
		if line := alias(c); line > 0 {
			return line
		}
	}
	return 0
}

// own is the line of a text that is the document itself.
func own(line int) int { return line }

func parseDocument(n int, node *yaml.Node) (Document, error) {
	doc, err := readDocument(node)
	var read *readError
	switch {
	case err == nil:
		return doc, nil
	case errors.As(err, &read):
		return doc, malformed(n, read.err, read.at, read.types)
	}
	return doc, withoutNumbers(texts.Errorf("document %d: %w", n, err))
}

// readError is an error of the YAML reader with what it takes to say it in words;
// see malformed.
type readError struct {
	err   error
	at    func(int) int
	types map[string]reflect.Type
}

func (e *readError) Error() string { return "the document is malformed" }

func readDocument(node *yaml.Node) (Document, error) {
	var head struct {
		Kind Kind           `yaml:"kind"`
		Rest map[string]any `yaml:",inline"`
	}
	if err := node.Decode(&head); err != nil {
		return Document{}, &readError{err, own, map[string]reflect.Type{"map[string]interface {}": reflect.TypeFor[map[string]any](), "policies.Kind": reflect.TypeFor[Kind]()}}
	}
	doc := Document{Kind: head.Kind}
	var err error
	switch head.Kind {
	case KindRegistry:
		doc.Registry, err = decodeAs[Registry](node)
	case KindCatalogue:
		doc.Catalogue, err = decodeAs[Catalogue](node)
	case KindGrading:
		doc.Grading, err = decodeAs[Grading](node)
	case KindMasking:
		doc.Masking, err = decodeAs[Masking](node)
	case KindDisclosure:
		doc.Disclosure, err = decodeAs[Disclosure](node)
	case KindLicence:
		doc.Licence, err = decodeAs[Licence](node)
	case KindRevocation:
		doc.Revocation, err = decodeAs[Revocation](node)
	case "":
		return Document{}, texts.Errorf("field kind is missing")
	default:
		k, ok := kinds[head.Kind]
		if !ok {
			return Document{}, texts.Errorf("unknown kind %q; known: %s", safeName(string(head.Kind)), strings.Join(knownKinds(), ", "))
		}
		doc.Body, err = k.decode(node)
	}
	return doc, err
}

// ParseModelSpec reads a model specification that stands alone, as strictly as a bundle.
func ParseModelSpec(text []byte) (*ModelSpec, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var node yaml.Node
	if err := dec.Decode(&node); err != nil {
		return nil, malformed(1, err, own, nil)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, texts.Errorf("the file must hold one specification")
	}
	if line := alias(&node); line > 0 {
		return nil, texts.Errorf("line %d: aliases and merge keys are not allowed; write the text out", line)
	}
	if len(node.Content) == 1 {
		for i, c := range node.Content[0].Content {
			if i%2 == 0 && c.Value == "kind" {
				return nil, texts.Errorf("line %d: a specification has no kind; model draft makes the product of it", c.Line)
			}
		}
	}
	spec, err := decodeAs[ModelSpec](&node)
	var read *readError
	if errors.As(err, &read) {
		return nil, malformed(1, read.err, read.at, read.types)
	}
	return spec, err
}

// decodeAs decodes node into T plus the kind field, refusing every other field.
// The node is re-encoded because yaml.Node.Decode cannot refuse unknown fields.
func decodeAs[T any](node *yaml.Node) (*T, error) {
	text, err := yaml.Marshal(node)
	if err != nil {
		return nil, texts.Errorf("failed to re-encode: %w", err)
	}
	var v struct {
		Kind Kind `yaml:"kind"`
		Body T    `yaml:",inline"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&v); err != nil {
		return nil, &readError{err, linesOf(node, text, reflect.TypeFor[T]()), typesOf(reflect.TypeFor[T](), map[string]reflect.Type{})}
	}
	if line := fraction(node, reflect.TypeFor[T]()); line > 0 {
		return nil, texts.Errorf("line %d: a whole number is needed", line)
	}
	return &v.Body, nil
}

// fraction returns the line of a number with a fraction where t has a whole one,
// 0 without any: the decoder would cut it down, and a level of 4.9 would be 4.
// node is known to decode into t.
func fraction(node *yaml.Node, t reflect.Type) int {
	switch {
	case node.Kind == yaml.DocumentNode:
		return fraction(node.Content[0], t)
	case t.Kind() == reflect.Pointer:
		return fraction(node, t.Elem())
	case node.Kind == yaml.ScalarNode && reflect.Zero(t).CanConvert(reflect.TypeFor[int64]()) && t.Kind() != reflect.Float64 && node.ShortTag() == "!!float":
		return node.Line
	case node.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for _, c := range node.Content {
			if line := fraction(c, t.Elem()); line > 0 {
				return line
			}
		}
	case node.Kind == yaml.MappingNode:
		for i := 1; i < len(node.Content); i += 2 {
			inner, ok := memberType(t, node.Content[i-1].Value)
			if !ok {
				continue
			}
			if line := fraction(node.Content[i], inner); line > 0 {
				return line
			}
		}
	}
	return 0
}

// memberType is the type that stands under a key of a mapping read into t.
func memberType(t reflect.Type, key string) (reflect.Type, bool) {
	switch t.Kind() {
	case reflect.Map:
		return t.Elem(), true
	case reflect.Struct:
		for i := range t.NumField() {
			if name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); name == key {
				return t.Field(i).Type, true
			}
		}
	}
	return nil, false
}
