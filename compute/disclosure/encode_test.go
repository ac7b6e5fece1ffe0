package disclosure

import (
	"bytes"
	"reflect"
	"testing"
)

func someSets() []Set {
	return []Set{
		{Region: Region{Base: "b", Whole: true, Keys: []Key{{"k", 3}}, Cells: []int{0, 2}}, Units: []uint64{5, 1 << 63}, Values: map[string]uint64{"sum/x": 7}},
		{Family: "f", Region: Region{Base: "c", Cells: []int{0}}},
	}
}

func TestEncodeIsStrict(t *testing.T) {
	good := Encode(someSets())
	got, err := Decode(good)
	if err != nil || !reflect.DeepEqual(got, someSets()) {
		t.Fatalf("%+v, %v", got, err)
	}
	for cut := range good {
		if _, err := Decode(good[:cut]); err == nil {
			t.Fatalf("cut at %d: taken", cut)
		}
	}
	if _, err := Decode(append(bytes.Clone(good), 0)); err == nil {
		t.Fatal("a trailing byte was taken")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode(someSets()))
	f.Add(Encode(nil))
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		sets, err := Decode(b)
		if err == nil && !bytes.Equal(Encode(sets), b) {
			t.Fatal("two spellings of one record")
		}
	})
}
