package city

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies"
)

const testdata = "../../../../testdata"

// bundle is everything the YAML files of one directory say.
type bundle struct {
	registry   policies.Registry
	catalogues []policies.Catalogue
	gradings   []policies.Grading
	masks      []policies.Masking
	rules      []policies.Disclosure
	licences   []policies.Licence
}

// read decodes the documents of files. A field no type has, a kind no case has
// and a document behind the last one fail the test.
func read(t *testing.T, files ...string) *bundle {
	t.Helper()
	b := &bundle{}
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(testdata, name))
		if err != nil {
			t.Fatal(err)
		}
		for i, doc := range strings.Split(string(text), "\n---\n") {
			if err := b.add(doc); err != nil {
				t.Fatalf("%s, document %d: %v", name, i+1, err)
			}
		}
	}
	return b
}

func (b *bundle) add(doc string) error {
	var head struct {
		Kind policies.Kind `yaml:"kind"`
	}
	if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
		return err
	}
	switch head.Kind {
	case policies.KindRegistry:
		return strict(doc, &b.registry)
	case policies.KindCatalogue:
		return appendStrict(doc, &b.catalogues)
	case policies.KindGrading:
		return appendStrict(doc, &b.gradings)
	case policies.KindMasking:
		return appendStrict(doc, &b.masks)
	case policies.KindDisclosure:
		return appendStrict(doc, &b.rules)
	case policies.KindLicence:
		return appendStrict(doc, &b.licences)
	default:
		return errors.New("unknown kind " + string(head.Kind))
	}
}

func appendStrict[T any](doc string, list *[]T) error {
	var v T
	if err := strict(doc, &v); err != nil {
		return err
	}
	*list = append(*list, v)
	return nil
}

// strict decodes one document whose first line (but for comments) is its kind.
func strict(doc string, into any) error {
	_, body, ok := strings.Cut("\n"+doc, "\nkind: ")
	if !ok {
		return errors.New("document has no kind")
	}
	_, body, _ = strings.Cut(body, "\n")
	d := yaml.NewDecoder(bytes.NewReader([]byte(body)))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		return err
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return errors.New("more than one document")
	}
	return nil
}

func cityBundle(t *testing.T) *bundle {
	files := []string{"city/registry.yaml"}
	for _, pattern := range []string{"city/*.yaml", "city/licences/*.yaml"} {
		paths, err := filepath.Glob(filepath.Join(testdata, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			if name, _ := filepath.Rel(testdata, p); name != files[0] {
				files = append(files, name)
			}
		}
	}
	return read(t, files...)
}

func diabetesBundle(t *testing.T) *bundle {
	return read(t, "diabetes/registry.yaml", "diabetes/bundle.yaml", "diabetes/licence.yaml")
}

func TestStrictRefusesUnknownField(t *testing.T) {
	for name, doc := range map[string]string{
		"unknown field":  "kind: Grading\ndepartment: hrss\nscheme: x\nlevel: {}\n",
		"unknown kind":   "kind: Grade\ndepartment: hrss\n",
		"no kind":        "department: hrss\n",
		"nested unknown": "kind: Catalogue\ndepartment: hrss\ndatasets:\n  - id: a\n    colums: []\n",
	} {
		if err := new(bundle).add(doc); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestR15_R16_BundlesAreConsistent(t *testing.T) {
	for name, b := range map[string]*bundle{"city": cityBundle(t), "diabetes": diabetesBundle(t)} {
		t.Run(name, func(t *testing.T) {
			roles := b.checkRegistry(t)
			for _, c := range b.catalogues {
				if roles[c.Department] != policies.RoleDepartment {
					t.Errorf("catalogue of unregistered department %q", c.Department)
				}
				for i := range c.Datasets {
					b.checkDataset(t, c.Department, &c.Datasets[i])
				}
			}
			for _, l := range b.licences {
				if roles[l.Operator] != policies.RoleOperator {
					t.Errorf("licence %s: operator %q is not registered", l.ID, l.Operator)
				}
				b.checkLicence(t, l)
			}
			if len(b.gradings) != len(b.catalogues) || len(b.rules) != len(b.catalogues) || len(b.masks) != len(b.catalogues) {
				t.Error("a department lacks a grading, masking or disclosure document")
			}
		})
	}
}

func (b *bundle) checkRegistry(t *testing.T) map[string]policies.Role {
	roles := map[string]policies.Role{}
	regulators := 0
	for _, p := range b.registry.Parties {
		if roles[p.ID] != "" || p.Key != "@KEY:"+p.ID {
			t.Errorf("party %q is doubled or has no key placeholder", p.ID)
		}
		roles[p.ID] = p.Role
		if p.Role == policies.RoleRegulator {
			regulators++
		}
		bilingual(t, "party "+p.ID, p.Title)
	}
	if regulators != 1 {
		t.Errorf("%d regulators", regulators)
	}
	return roles
}

func bilingual(t *testing.T, what string, text policies.Text) {
	t.Helper()
	if text.ZH == "" || text.EN == "" {
		t.Errorf("%s: title lacks a language", what)
	}
}

// dataset returns what every document of the department says about a data set.
func (b *bundle) dataset(department, id string) (levels map[string]int, masks map[string]policies.Mask, rule policies.DisclosureRule, ok bool) {
	for _, g := range b.gradings {
		if g.Department == department && g.Scheme == policies.SchemeGBT43697 {
			levels = map[string]int{}
			for name, level := range g.Levels[id] {
				levels[name], _ = strconv.Atoi(string(level)) // what is no number is no level
			}
		}
	}
	for _, m := range b.masks {
		if m.Department == department {
			masks = m.Masks[id]
		}
	}
	for _, d := range b.rules {
		if d.Department == department {
			rule, ok = d.Datasets[id]
		}
	}
	return levels, masks, rule, ok
}

func (b *bundle) checkDataset(t *testing.T, department string, d *policies.Dataset) {
	levels, masks, rule, ok := b.dataset(department, d.ID)
	if !ok {
		t.Fatalf("%s: no disclosure rule of its department", d.ID)
	}
	bilingual(t, d.ID, d.Title)
	bilingual(t, d.ID+" abstract", d.Abstract)
	if d.Public == (d.Unit != nil) {
		t.Errorf("%s: a data set has a unit or is public, not both", d.ID)
	}
	columns := map[string]policies.Column{}
	for _, c := range d.Columns {
		columns[c.Name] = c
		b.checkColumn(t, d.ID+"."+c.Name, c, levels[c.Name], masks[c.Name], rule)
	}
	if len(columns) != len(d.Columns) || len(levels) != len(columns) {
		t.Errorf("%s: %d columns, %d names, %d levels", d.ID, len(d.Columns), len(columns), len(levels))
	}
	if d.Unit != nil && columns[d.Unit.Column].Identifier == "" {
		t.Errorf("%s: unit column is no identifier", d.ID)
	}
	for name := range masks {
		if _, ok := columns[name]; !ok {
			t.Errorf("%s: mask of unknown column %q", d.ID, name)
		}
	}
	for name := range rule.Uses {
		if _, ok := columns[name]; !ok {
			t.Errorf("%s: use of unknown column %q", d.ID, name)
		}
	}
	for _, name := range rule.PrivateKeys {
		if !slices.Contains(rule.Uses[name], policies.UseKey) {
			t.Errorf("%s: private key %q is no key", d.ID, name)
		}
	}
	for _, name := range d.Unique {
		if !slices.Contains(rule.Uses[name], policies.UseJoin) {
			t.Errorf("%s: unique column %q cannot be joined", d.ID, name)
		}
	}
	if d.Public {
		if rule.Mode != "" || rule.MaxRows != 0 || rule.Exact != nil {
			t.Errorf("%s: a public data set has no mode", d.ID)
		}
		return
	}
	b.checkRule(t, d.ID, rule)
}

func (b *bundle) checkRule(t *testing.T, id string, rule policies.DisclosureRule) {
	switch {
	case rule.Mode == "dp" && rule.MaxRows >= 1 && rule.Exact == nil:
	case rule.Mode == "exact" && rule.Exact != nil && rule.Exact.K >= 10 && rule.Exact.Round == 5:
	default:
		t.Errorf("%s: mode %q lacks its parameters", id, rule.Mode)
	}
	for _, p := range rule.Purposes {
		if !slices.ContainsFunc(b.registry.Purposes, func(q policies.Purpose) bool { return q.ID == p }) {
			t.Errorf("%s: purpose %q is not registered", id, p)
		}
	}
}

func (b *bundle) checkColumn(t *testing.T, name string, c policies.Column, level int, mask policies.Mask, rule policies.DisclosureRule) {
	bilingual(t, name, c.Title)
	if level < 1 || level > 6 {
		t.Errorf("%s: level %d", name, level)
	}
	if mask.Op == "" {
		mask.Op = masking.OpKeep
	}
	typ := algebra.Type{Kind: c.Type, Scale: c.Scale}
	out, drop, err := masking.OutType(mask.Op, masking.Params{Digits: mask.Digits, Value: mask.Value, Type: typ})
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	uses := rule.Uses[c.Name]
	if c.Identifier != "" && (mask.Op == masking.OpKeep || len(uses) > 0) {
		t.Errorf("%s: identifier is kept or usable", name)
	}
	if drop && len(uses) > 0 {
		t.Errorf("%s: dropped but usable", name)
	}
	numeric := out.Kind == algebra.Int || out.Kind == algebra.Decimal
	if slices.Contains(uses, policies.UseMeasure) && (!numeric || c.Bounds == nil) {
		t.Errorf("%s: measure is not numeric or has no bounds", name)
	}
	private := slices.Contains(rule.PrivateKeys, c.Name)
	// A column with a grid is a key by bin().
	if slices.Contains(uses, policies.UseKey) && private == (c.Codes != nil || c.Grid != nil) {
		t.Errorf("%s: a key has a code list or a grid, or is private", name)
	}
	seen := map[string]bool{}
	for _, code := range c.Codes {
		if seen[code.Value] {
			t.Errorf("%s: doubled code", name)
		}
		seen[code.Value] = true
		bilingual(t, name+" code", code.Title)
	}
	if c.Other != "" && !seen[c.Other] {
		t.Errorf("%s: other is not on the code list", name)
	}
}

func (b *bundle) checkLicence(t *testing.T, l policies.Licence) {
	if !l.NotBefore.Before(l.NotAfter) || l.NotAfter.After(l.NotBefore.AddDate(5, 0, 0)) {
		t.Errorf("licence %s: term", l.ID)
	}
	for _, text := range []policies.Text{l.Title, l.Scenario, l.Security, l.Exit} {
		bilingual(t, "licence "+l.ID, text)
	}
	for _, o := range l.Resources {
		found := false
		for _, c := range b.catalogues {
			_, _, rule, ok := b.dataset(c.Department, o.Dataset)
			if !ok {
				continue
			}
			found = true
			for _, name := range o.Columns {
				if len(rule.Uses[name]) == 0 {
					t.Errorf("licence %s: %s.%s is not usable", l.ID, o.Dataset, name)
				}
			}
			if !slices.ContainsFunc(l.Purposes, func(p string) bool { return slices.Contains(rule.Purposes, p) }) {
				t.Errorf("licence %s: no purpose of %s", l.ID, o.Dataset)
			}
		}
		if !found {
			t.Errorf("licence %s: unknown data set %s", l.ID, o.Dataset)
		}
	}
}
