package engine

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

func listPlan(units int64) *protect.Plan {
	plan := testPlan(true, 4, intType)
	plan.Exact = &protect.ExactRules{SnapUnits: units, Lists: []protect.List{{}, {Col: &algebra.Col{Name: "x", Type: intType}, Top: true}}}
	return plan
}

func listCell(key int64, units, top []uint64) protect.Cell {
	return protect.Cell{Keys: []algebra.Value{{Type: intType, I: key}}, M: bigs(1, 2), Lists: [][]uint64{units, top}}
}

func TestListsRoundTripAndAreStrict(t *testing.T) {
	plan := listPlan(3)
	total := &protect.Cell{M: bigs(1, 2)}
	good := protect.Partials{Total: total, Cells: []protect.Cell{listCell(1, []uint64{4, 1 << 63}, []uint64{7, 7}), listCell(2, []uint64{}, []uint64{})}}
	frames, err := EncodePartials(plan, good)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodePartials(plan, frames)
	if err != nil || !reflect.DeepEqual(got.Cells, good.Cells) {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, c := range map[string]protect.Cell{
		"more units than the snapshot has": listCell(1, []uint64{1, 2, 3, 4}, nil),
		"a unit twice":                     listCell(1, []uint64{1, 1, 2}, nil),
		"out of order":                     listCell(1, []uint64{2, 1}, nil),
		"three largest values":             listCell(1, nil, []uint64{1, 2, 3}),
		"a list missing":                   {Keys: []algebra.Value{{Type: intType}}, M: bigs(1, 2), Lists: [][]uint64{{1}}},
	} {
		if _, err := EncodePartials(plan, protect.Partials{Total: total, Cells: []protect.Cell{c}}); !errors.Is(err, ErrPartials) {
			t.Errorf("%s: %v", name, err)
		}
		// A worker that does not keep to it is refused by the reader.
		wide := listPlan(100)
		s := SchemaOf(wide)
		if len(c.Lists) == 2 && !slices.IsSorted(c.Lists[0]) || len(c.Lists) < 2 {
			continue
		}
		raw := appendLists(nil, s, []Row{{Lists: c.Lists}})
		rows := []Row{{}}
		if err := readLists(&cursor{raw}, SchemaOf(plan), rows); err == nil && SchemaOf(plan).fitsLists(rows[0]) {
			t.Errorf("%s: read", name)
		}
	}
	if _, err := DecodePartials(listPlan(1), frames); !errors.Is(err, ErrPartials) {
		t.Errorf("lists past the cap: %v", err)
	}
}

func FuzzDecodeLists(f *testing.F) {
	frames, err := EncodePartials(listPlan(3), protect.Partials{Total: &protect.Cell{M: bigs(1, 2)}, Cells: []protect.Cell{listCell(1, []uint64{4, 9}, []uint64{7, 7})}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(frames[0])
	f.Add(append(slices.Clone(frames[0]), 5, 255, 255, 255, 255))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := DecodePartials(listPlan(3), [][]byte{raw})
		if err != nil {
			if !errors.Is(err, ErrPartials) || !reflect.DeepEqual(got, protect.Partials{}) {
				t.Fatalf("refusal with content: %v", err)
			}
			return
		}
		for _, c := range got.Cells {
			if len(c.Lists) != 2 || len(c.Lists[0]) > 3 || len(c.Lists[1]) > 2 || !slices.IsSorted(c.Lists[0]) {
				t.Fatalf("taken: %v", c.Lists)
			}
		}
	})
}
