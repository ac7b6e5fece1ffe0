package projection

import (
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// collect keeps the rows of a projector by table, cells spelled out, NULL as "∅".
func collect(t *testing.T) (map[string][]string, Row) {
	t.Helper()
	out := map[string][]string{}
	return out, func(table int, cells []*string) error {
		shape := Tables[table]
		if len(cells) != len(shape.Columns) {
			t.Errorf("table %s got %d cells for %d columns", shape.Name, len(cells), len(shape.Columns))
		}
		var words []string
		for _, c := range cells {
			if c == nil {
				words = append(words, "∅")
				continue
			}
			words = append(words, *c)
		}
		out[shape.Name] = append(out[shape.Name], strings.Join(words, "|"))
		return nil
	}
}

func TestR29_SnapshotsAreShownWithTheirDestruction(t *testing.T) {
	rows, row := collect(t)
	p := New(row)
	for i, e := range []*entry.Entry{
		{Seq: 1, At: 10, Kind: entry.KindSnapshot, Actor: "d", Snapshot: &entry.Snapshot{Dataset: "a", Snapshot: "s1"}},
		{Seq: 2, At: 20, Kind: entry.KindSnapshot, Actor: "d", Snapshot: &entry.Snapshot{Dataset: "a", Snapshot: "s2"}},
		{Seq: 3, At: 30, Kind: entry.KindDestroyed, Actor: "d", Destroyed: &entry.Destroyed{Dataset: "a", Snapshot: "s2"}},
		{Seq: 4, At: 40, Kind: entry.KindDestroyed, Actor: "d", Destroyed: &entry.Destroyed{Dataset: "b", Snapshot: "s3"}},
		{Seq: 5, At: 50, Kind: entry.KindDutyNoted, Actor: "gateway", DutyNoted: &entry.DutyNoted{Duty: "x", Phase: "missed", Owes: "d"}},
	} {
		if err := p.Entry(e, []byte{'0' + byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(state.New(), Meta{Origin: "o", Entries: 6, Root: "r", Audited: true}); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string][]string{
		"snapshots": {"1|10|a|s1|∅|∅", "2|20|a|s2|3|30"},
		"duties":    {"5|50|x|missed|d"},
		"meta":      {"o|6|r|true"},
	} {
		if !slices.Equal(rows[table], want) {
			t.Errorf("table %s holds %q; want %q", table, rows[table], want)
		}
	}
	if len(rows["entries"]) != 5 || !strings.HasSuffix(rows["entries"][4], "|4") {
		t.Errorf("entries are %q", rows["entries"])
	}
}

func TestR29_JobsAreShownWithChargesReasonsAndWhatTheyRead(t *testing.T) {
	rows, row := collect(t)
	p := New(row)
	core := &algebra.Core{Tables: []algebra.Table{{Dataset: "a"}}}
	scope := budget.Scope{Kind: "dataset_year", Dataset: "a", Year: 2026}
	j := &state.Job{Operator: "op", Request: entry.Request{Request: "q", Licence: "l", Purpose: "p", Core: core}, Phase: state.PhaseReleased, At: 7, Seq: 3,
		Reserved: &entry.Reserved{Mode: "dp", Snapshots: []string{"s1"}, Price: 9, Charges: []budget.Charge{{Scope: scope, Amount: 9, Limit: 100}}},
		Released: &entry.Released{Digest: "d", Rows: 2, Bytes: 30}, FinishSeq: 4, FinishAt: 8}
	if err := p.job("j1", j); err != nil {
		t.Fatal(err)
	}
	if err := p.job("j2", &state.Job{Operator: "op", Phase: state.PhaseRefused, Reasons: []policies.Reason{{Code: "C", Rule: "r", SetBy: "x", ZH: "中", EN: "e"}}}); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string][]string{
		"jobs":         {"j1|op|q|l|p|∅|dp|RELEASED|3|7|4|8|∅|∅|∅|∅|9|d|2|30", "j2|op|∅|∅|∅|∅|∅|REFUSED|0|0|∅|∅|∅|∅|∅|∅|∅|∅|∅|∅"},
		"job_datasets": {"j1|a|s1"},
		"charges":      {"j1|dataset_year|a|∅|2026|9|100"},
		"reasons":      {"j2|0|0|op|C|r|x|中|e"},
	} {
		if !slices.Equal(rows[table], want) {
			t.Errorf("table %s holds %q; want %q", table, rows[table], want)
		}
	}
}
