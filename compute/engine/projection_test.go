package engine

import (
	"bytes"
	"io"
	"testing"
)

func TestProjectRowsReadBack(t *testing.T) {
	a, empty := "甲", ""
	text := AppendProjectRow(nil, 1, []*string{&a, nil, &empty})
	text = AppendProjectRow(text, 0, []*string{&empty})
	r := bytes.NewReader(text)
	table, row, err := ReadProjectRow(r, []int{1, 3})
	if err != nil || table != 1 || *row[0] != a || row[1] != nil || *row[2] != "" {
		t.Fatalf("the first row reads back as table %d, %v, %v", table, row, err)
	}
	if table, row, err = ReadProjectRow(r, []int{1, 3}); err != nil || table != 0 || len(row) != 1 {
		t.Fatalf("the second row reads back as table %d, %v, %v", table, row, err)
	}
	if _, _, err = ReadProjectRow(r, []int{1, 3}); err != io.EOF {
		t.Fatalf("after the last row: %v", err)
	}
}

// FuzzReadProjectRow holds that no bytes make the reader panic or allocate without
// bound, and that what it reads is written again as it was.
func FuzzReadProjectRow(f *testing.F) {
	word := "x"
	f.Add(AppendProjectRow(nil, 1, []*string{&word, nil}))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add([]byte{9})
	f.Fuzz(func(t *testing.T, text []byte) {
		r := bytes.NewReader(text)
		for {
			table, row, err := ReadProjectRow(r, []int{1, 2})
			if err != nil {
				return
			}
			again := AppendProjectRow(nil, table, row)
			if t2, r2, err := ReadProjectRow(bytes.NewReader(again), []int{1, 2}); err != nil || t2 != table || len(r2) != len(row) {
				t.Fatalf("row %v of table %d does not read back", row, table)
			}
		}
	})
}
