package engine

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/release"
)

func postTable(t testing.TB) *release.Table {
	t.Helper()
	stored := []byte(`{"v":1,"mode":"dp","rho":5,"derived":false,"source":"","columns":[{"name":"","kind":"key","func":"","type":"text","scale":0},` +
		`{"name":"","kind":"estimate","func":"count","type":"int","scale":0}],"rows":[[{"s":"甲"},{"v":"7","lo":"1","hi":"13"}],[{},{"v":"0","lo":"-6","hi":"6"}]]}`)
	r, err := release.Load(stored, sha256.Sum256(stored))
	if err != nil {
		t.Fatal(err)
	}
	if r, err = r.Apply(algebra.Post{Outputs: []algebra.Output{{Ref: 0, Name: "k"}, {Ref: 1, Name: "n"}}}); err != nil {
		t.Fatal(err)
	}
	table, err := r.Table("main", "released")
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestPostPayload(t *testing.T) {
	payload, err := PostPayload(PostJob{Tree: []byte(`{}`)}, []*release.Table{postTable(t), postTable(t).Empty()})
	if err != nil {
		t.Fatal(err)
	}
	job, rows, err := ReadPostJob(payload)
	if err != nil || len(rows) != 2 || len(rows[0]) != 2 || len(rows[1]) != 0 {
		t.Fatalf("%v %v", rows, err)
	}
	if *rows[0][0][0] != "甲" || rows[0][1][0] != nil || *rows[0][1][2] != "-6" || job.Tables[0].Columns[3].Name != "n_hi" {
		t.Errorf("%v %+v", rows, job)
	}
	for i := range payload {
		if _, _, err := ReadPostJob(payload[:i]); err == nil {
			t.Errorf("the first %d bytes are taken for a job", i)
		}
	}
}

func FuzzReadPostJob(f *testing.F) {
	payload, err := PostPayload(PostJob{Tree: []byte(`{}`)}, []*release.Table{postTable(f)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payload)
	f.Add([]byte{})
	f.Add(joinPost([]byte(`{"tables":[{"rows":1000000000}]}`), nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		job, rows, err := ReadPostJob(b)
		if err == nil && len(rows) != len(job.Tables) {
			t.Error("tables and rows differ")
		}
	})
}

func FuzzDecodePostRows(f *testing.F) {
	a, empty := "甲", ""
	f.Add(AppendPostRow(AppendPostRow(nil, []*string{&a, nil}), []*string{&empty, &a}), 2)
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 1}, 1)
	f.Add([]byte{0}, 0)
	f.Fuzz(func(t *testing.T, b []byte, columns int) {
		if columns < 0 || columns > 1000 {
			return
		}
		rows, err := decodePostRows(b, columns, 100)
		if err != nil {
			return
		}
		var again []byte
		for _, r := range rows {
			again = AppendPostRow(again, r)
		}
		back, err := decodePostRows(again, columns, 100)
		if err != nil || len(back) != len(rows) || len(again) > len(b) && !bytes.Equal(again, b) {
			t.Errorf("%d rows, then %d, %v", len(rows), len(back), err)
		}
	})
}
