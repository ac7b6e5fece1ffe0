package engine

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/sandbox"
)

// TestR02_ModelFrames: what a model worker may say reads back as it was said, and
// nothing else reads at all: no text, no frame of another shape, no sum that ran over.
func TestR02_ModelFrames(t *testing.T) {
	var frames [][]byte
	w := ModelReplies{Emit: func(f []byte) error { frames = append(frames, slices.Clone(f)); return nil }}
	sums := []int64{0, 1, -1, 1 << 60, -(1 << 60)}
	for _, err := range []error{w.Loaded(), w.Sums(sums), w.Parameters([]byte("file")), w.Report([]byte(`{"verdict":"PASS"}`)), w.Progress(StageGate, 3, 7), w.Refuse(ModelUnfit)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []modelReply{
		{tag: tagModelLoaded}, {tag: tagModelSums, sums: sums}, {tag: tagModelParameters, body: []byte("file")},
		{tag: tagModelReport, body: []byte(`{"verdict":"PASS"}`)}, {tag: tagModelProgress, progress: ModelProgress{StageGate, 3, 7}},
		{tag: tagModelRefused, code: ModelUnfit},
	}
	for i, f := range frames {
		got, err := decodeModelReply(f)
		if err != nil || got.tag != want[i].tag || !slices.Equal(got.sums, want[i].sums) || !bytes.Equal(got.body, want[i].body) || got.progress != want[i].progress || got.code != want[i].code {
			t.Errorf("frame %d: %+v, %v", i, got, err)
		}
	}
	if err := w.Refuse("NAME=张三"); err == nil || len(frames) != 6 {
		t.Error("a code of its own making leaves the worker")
	}
	over := binary.LittleEndian.AppendUint64([]byte{tagModelSums}, math.MaxInt64)
	for what, f := range map[string][]byte{
		"nothing": {}, "unknown tag": {'Z'}, "loaded with a body": {tagModelLoaded, 1}, "half a sum": {tagModelSums, 1, 2, 3}, "no sums": {tagModelSums},
		"a sum that ran over": over, "report that is no JSON": append([]byte{tagModelReport}, "name=x"...), "stage": {tagModelProgress, byte(stages), 0, 0, 1, 0},
		"beyond the end": {tagModelProgress, 0, 2, 0, 1, 0}, "long progress": {tagModelProgress, 0, 0, 0, 1, 0, 9}, "code": {tagModelRefused, byte(len(modelCodes))},
		"words": append([]byte{tagModelRefused}, "words"...), "long report": append([]byte{tagModelReport, '"'}, append(bytes.Repeat([]byte{'a'}, MaxModelReport), '"')...),
	} {
		if got, err := decodeModelReply(f); err == nil {
			t.Errorf("%s: %+v", what, got)
		}
	}
	frames = nil
	for range 2 * maxModelProgress {
		if err := w.Progress(StageGate, 1, 2); err != nil {
			t.Fatal(err)
		}
	}
	if len(frames) >= maxModelProgress {
		t.Errorf("%d frames of progress", len(frames))
	}
}

// FuzzModelReply: no frame makes the gateway's side fall over, and what reads is what
// the writer would have written.
func FuzzModelReply(f *testing.F) {
	f.Add([]byte{tagModelLoaded})
	f.Add(append([]byte{tagModelSums}, make([]byte, 16)...))
	f.Add([]byte(`G{"verdict":"FAIL"}`))
	f.Add([]byte{tagModelProgress, 1, 0, 0, 1, 0})
	f.Add([]byte{tagModelRefused, 0})
	f.Fuzz(func(t *testing.T, frame []byte) {
		r, err := decodeModelReply(frame)
		if err != nil {
			return
		}
		var out []byte
		w := ModelReplies{Emit: func(b []byte) error { out = b; return nil }}
		switch r.tag {
		case tagModelLoaded:
			err = w.Loaded()
		case tagModelSums:
			err = w.Sums(r.sums)
		case tagModelParameters:
			err = w.Parameters(r.body)
		case tagModelReport:
			err = w.Report(r.body)
		case tagModelRefused:
			err = w.Refuse(r.code)
		case tagModelProgress:
			if r.progress.Total == 0 {
				return // the writer says nothing then
			}
			err = w.Progress(r.progress.Stage, int(r.progress.Done), int(r.progress.Total))
		}
		if err != nil || !bytes.Equal(out, frame) {
			t.Errorf("%q reads as %+v, %v", frame, r, err)
		}
	})
}

// TestModelStatement: column names of the schema and one number, whatever they hold.
func TestModelStatement(t *testing.T) {
	schema := algebra.Schema{Dataset: "d", Columns: []algebra.SchemaColumn{{Name: `a"b`, Type: algebra.Type{Kind: algebra.Int}}, {Name: "c", Type: algebra.Type{Kind: algebra.Text}}}}
	text, types, err := ModelStatement(schema, []string{"c", `a"b`}, 3)
	if err != nil || len(types) != 2 || text != `SELECT t0."_unit" AS u, t0."c" AS c0, t0."a""b" AS c1 FROM d0.main.t AS t0 WHERE t0._rn <= 3 ORDER BY t0._unit, t0._rn` {
		t.Fatal(text, types, err)
	}
	for what, c := range map[string]struct {
		columns []string
		rows    int
	}{"unknown": {[]string{`c" FROM x --`}, 1}, "the unit": {[]string{"_unit"}, 1}, "twice": {[]string{"c", "c"}, 1}, "none": {nil, 1}, "no rows": {[]string{"c"}, 0}} {
		if _, _, err := ModelStatement(schema, c.columns, c.rows); err == nil {
			t.Errorf("%s is rendered", what)
		}
	}
}

// TestModelRequests: a request reads back, an empty frame ends, and anything else is an
// error.
func TestModelRequests(t *testing.T) {
	var buf bytes.Buffer
	for _, body := range []string{`{"op":"fit"}`, `{"op":"pass","pass":{"kind":"scores","norm":1,"step":1,"width":2}}`, ""} {
		if err := sandbox.WriteFrame(&buf, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	a, err := ReadModelRequest(&buf)
	if err != nil || a.Op != ModelFit {
		t.Fatal(a, err)
	}
	b, err := ReadModelRequest(&buf)
	if err != nil || b.Pass.Kind != model.PassScores || b.Pass.Width != 2 {
		t.Fatal(b, err)
	}
	if c, err := ReadModelRequest(&buf); c != nil || err != nil {
		t.Fatal(c, err)
	}
	for _, body := range []string{`{"op":"pass"}`, `{"op":"fit","pass":{}}`, `[]`, strings.Repeat("x", 10)} {
		buf.Reset()
		_ = sandbox.WriteFrame(&buf, []byte(body))
		if _, err := ReadModelRequest(&buf); err == nil {
			t.Errorf("%q is a request", body)
		}
	}
}
