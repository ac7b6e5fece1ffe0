package policies

import (
	"bytes"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// FormatDocument writes one document of a bundle that ParseBundle reads back.
func FormatDocument(kind Kind, body any) ([]byte, error) {
	return formatAll(kind, []any{body})
}

// FormatCatalogues writes catalogues as an unsigned bundle that ParseBundle reads
// back. It fails when the bundle would be too large to apply.
func FormatCatalogues(catalogues []Catalogue) ([]byte, error) {
	var all []any
	for _, c := range catalogues {
		all = append(all, c)
	}
	return formatAll(KindCatalogue, all)
}

func formatAll(kind Kind, bodies []any) ([]byte, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	for _, body := range bodies {
		node, err := nodeOf(reflect.ValueOf(body))
		if err != nil {
			return nil, texts.Errorf("failed to encode %s: %w", kind, err)
		}
		var key, value yaml.Node
		key.SetString("kind")
		value.SetString(string(kind))
		node.Content = append([]*yaml.Node{&key, &value}, node.Content...)
		if err := enc.Encode(node); err != nil {
			return nil, texts.Errorf("failed to encode %s: %w", kind, err)
		}
	}
	if err := enc.Close(); err != nil {
		return nil, texts.Errorf("failed to encode %s: %w", kind, err)
	}
	if out.Len() > MaxBundleBytes || len(bodies) > maxDocuments {
		return nil, texts.Errorf("the bundle would be larger than %d bytes or %d documents; split it", MaxBundleBytes, maxDocuments)
	}
	return out.Bytes(), nil
}

// nodeOf builds the node that the encoder would, except that texts of several lines
// stand in double quotes: as blocks, those that begin with a space do not read
// back, because the encoder's hint of their indentation is wrong.
func nodeOf(v reflect.Value) (*yaml.Node, error) {
	n := &yaml.Node{}
	if _, ok := v.Interface().(time.Time); ok {
		return n, n.Encode(v.Interface())
	}
	switch v.Kind() {
	case reflect.Pointer:
		return nodeOf(v.Elem())
	case reflect.Slice:
		n.Kind = yaml.SequenceNode
		for i := range v.Len() {
			c, err := nodeOf(v.Index(i))
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, c)
		}
	case reflect.Struct:
		n.Kind = yaml.MappingNode
		for i := range v.NumField() {
			name, opts, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
			f := v.Field(i)
			if strings.Contains(opts, "omitempty") && (f.IsZero() || f.Kind() == reflect.Slice && f.Len() == 0) {
				continue
			}
			c, err := nodeOf(f)
			if err != nil {
				return nil, err
			}
			var key yaml.Node
			key.SetString(name)
			n.Content = append(n.Content, &key, c)
		}
	case reflect.String:
		if strings.Contains(v.String(), "\n") {
			n.Kind, n.Tag, n.Value, n.Style = yaml.ScalarNode, "!!str", v.String(), yaml.DoubleQuotedStyle
			return n, nil
		}
		return n, n.Encode(v.String())
	default:
		return n, n.Encode(v.Interface())
	}
	return n, nil
}
