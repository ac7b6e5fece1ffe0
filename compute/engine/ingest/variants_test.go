package ingest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
)

// TestR20_HiddenColumnsAreTheMaskOfTheColumn: whatever base mask a column has, its
// hidden columns hold what their own masks make of the value that was read.
func TestR20_HiddenColumnsAreTheMaskOfTheColumn(t *testing.T) {
	withMasks(t)
	variants := []Variant{
		{Name: "_m_born_1", Of: "born", Mask: Mask{Op: masking.OpYear}},
		{Name: "_m_born_2", Of: "born", Mask: Mask{Op: masking.OpAgeBand, At: "2026-01-01", Width: "5"}},
		{Name: "_m_fee_1", Of: "fee", Mask: Mask{Op: masking.OpBand, Width: "100.00"}},
		{Name: "_m_area_1", Of: "area", Mask: Mask{Op: masking.OpArea, Digits: 2}},
		{Name: "_m_address_1", Of: "address", Mask: Mask{Op: masking.OpAddress, Level: "city"}},
		{Name: "_m_phone_1", Of: "phone", Mask: Mask{Op: masking.OpNull}},
	}
	bare := maskedSpec(map[string]Mask{"born": {Op: masking.OpMonth}, "phone": {Op: masking.OpPhone}})
	spec := bare
	spec.Variants = variants
	for i := range spec.Columns {
		spec.Columns[i].Nullable = i > 0
	}
	spec.Columns[2].Bounds = &Range{Lo: 5000, Hi: 50000}
	raw := maskedFile(300, 200)
	raw += "U0000001,,,,,\n"
	rows, sum, err := run(t, spec, CSV, raw)
	if err != nil || sum.Bad != 0 || len(rows) != 301 {
		t.Fatalf("%d rows, %+v, %v", len(rows), sum, err)
	}
	stored, err := spec.StoredColumns()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(raw), "\n")[1:]
	differ := map[string]bool{}
	for n, row := range rows {
		fields := strings.Split(lines[n], ",")
		for k, v := range variants {
			got, typ := row.Values[5+k], stored[5+k].Type
			if stored[5+k].Name != v.Name {
				t.Fatalf("column %d is %s", 5+k, stored[5+k].Name)
			}
			at := spec.source(v)
			c := spec.Columns[at]
			text := fields[at]
			if text == "" {
				if !got.Null {
					t.Fatalf("row %d: %s of NULL is %v", n, v.Name, got)
				}
				continue
			}
			if c.Bounds != nil { // masked after it was clamped
				i, _ := algebra.ParseDecimal(text, c.Type.Scale)
				text = formatDecimal(min(max(i, c.Bounds.Lo), c.Bounds.Hi), int(c.Type.Scale))
			}
			o, err := masking.New(v.Mask.Op, masking.Params{Digits: v.Mask.Digits, Level: v.Mask.Level, At: v.Mask.At, Width: v.Mask.Width, Type: c.Type})
			if err != nil {
				t.Fatal(err)
			}
			want, null := o.Apply(text)
			if null != got.Null || !null && format(typ, got) != want {
				t.Fatalf("row %d: %s of %q is %q, want %q", n, v.Name, fields[at], format(typ, got), want)
			}
			if !null && want != fields[at] {
				differ[v.Name] = true
			}
		}
	}
	if len(differ) != len(variants)-1 { // all but the one that is NULL everywhere
		t.Errorf("control: only %v were masked at all", differ)
	}
	// The specification's hash covers them, and the one without has the hash it had.
	a, _ := bare.Hash()
	b, _ := spec.Hash()
	other := spec
	other.Variants = append([]Variant{}, variants...)
	other.Variants[3].Mask.Digits = 4
	c, _ := other.Hash()
	if a == b || b == c {
		t.Error("the hash does not cover hidden columns")
	}
}

func TestHiddenColumnsThatCannotBe(t *testing.T) {
	withMasks(t)
	year := Mask{Op: masking.OpYear}
	for name, v := range map[string]Variant{
		"no column":     {Name: "_m_x_1", Of: "x", Mask: year},
		"the unit":      {Name: "_m_id_1", Of: "id", Mask: year},
		"no name":       {Of: "born", Mask: year},
		"taken":         {Name: "FEE", Of: "born", Mask: year},
		"reserved":      {Name: "_rn", Of: "born", Mask: year},
		"stores none":   {Name: "_m_born_1", Of: "born", Mask: Mask{Op: masking.OpDrop}},
		"does not fit":  {Name: "_m_fee_1", Of: "fee", Mask: year},
		"unknown mask":  {Name: "_m_fee_1", Of: "fee", Mask: Mask{Op: "rot"}},
		"of one hidden": {Name: "_m_y_1", Of: "_m_born_0", Mask: year},
	} {
		s := maskedSpec(nil)
		s.Variants = []Variant{{Name: "_m_born_0", Of: "born", Mask: year}, v}
		if _, err := s.StoredColumns(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	s := maskedSpec(nil)
	for i := range maxStored {
		s.Variants = append(s.Variants, Variant{Name: fmt.Sprintf("_m_born_%d", i), Of: "born", Mask: year})
	}
	if _, err := s.StoredColumns(); err == nil {
		t.Error("too many: accepted")
	}
}
