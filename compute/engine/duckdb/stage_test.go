package duckdb

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine/ingest"
)

// stagedText is one random row as ingest encodes it, and as it must be read back.
func stagedText(r *rand.Rand, unit uint64) (encoded []byte, want string) {
	encoded = binary.BigEndian.AppendUint64(nil, unit)
	number := func(n int64) { encoded = binary.BigEndian.AppendUint64(append(encoded, 1), uint64(n)) }
	null := func() { encoded, want = append(encoded, 0), want+" <nil>" }
	for _, kind := range stageKinds {
		n := r.Int64N(1 << 40)
		switch {
		case r.IntN(5) == 0:
			null()
		case kind == algebra.Text:
			text := strings.Repeat("东x", r.IntN(12))
			if r.IntN(3000) == 0 {
				text = strings.Repeat("长", 1300)
			}
			encoded = append(binary.BigEndian.AppendUint32(append(encoded, 2), uint32(len(text))), text...)
			want += " " + text
		case kind == algebra.Bool:
			number(n % 2)
			want += fmt.Sprint(" ", n%2 == 1)
		case kind == algebra.Date:
			number(n % 40000)
			want += " " + algebra.FormatDate(n%40000)
		default:
			number(-n)
			want += fmt.Sprint(" ", -n)
		}
	}
	return encoded, want
}

var stageKinds = []algebra.Kind{algebra.Text, algebra.Bool, algebra.Date, algebra.Int, algebra.Decimal, algebra.Text}

// TestStageKeepsAndOrdersRows: what goes into a stage through several lanes comes out
// as it was, ranked and ordered as decision 014 says, whatever the passes and however
// many groups of rows there are.
func TestStageKeepsAndOrdersRows(t *testing.T) {
	for _, c := range []struct {
		name       string
		private    bool
		lanes      int
		rows, unit int
		memory     int64
	}{
		{"empty", true, 2, 0, 1, 1 << 30},
		{"small", true, 2, 500, 7, 1 << 30},
		{"several groups", true, 2, groupRows + 30_017, 40_000, 1 << 30},
		{"one row a unit", true, 3, 20_000, 1 << 40, 1 << 30},
		{"one row a unit, several groups", true, 2, groupRows + 30_017, 1 << 40, 1 << 30},
		{"one row a unit, little memory", true, 2, 40_000, 1 << 40, 1 << 20},
		{"several passes", true, 2, 40_000, 9_000, 1 << 20},
		{"public", false, 2, 40_000, 1, 1 << 20},
		{"one lane", false, 1, 2_000, 1, 1 << 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "stage"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			st := newStage(f, c.private, false, c.lanes)
			st.oneRow = c.unit == 1<<40
			type row struct {
				unit, order uint64
				want        string
			}
			var all []row
			var mu sync.Mutex
			var wait sync.WaitGroup
			for l, sink := range st.Lanes() {
				wait.Add(1)
				go func() {
					defer wait.Done()
					r := rand.New(rand.NewPCG(1, uint64(l)))
					var mine []row
					for range c.rows/c.lanes + 1 {
						if len(mine) == 0 && c.rows == 0 {
							break
						}
						unit := rand.New(rand.NewPCG(2, r.Uint64N(uint64(c.unit)))).Uint64()
						if !c.private {
							unit = 0
						}
						encoded, want := stagedText(r, unit)
						order := r.Uint64()
						if err := sink.Add(ingest.Row{Unit: unit, Order: order, Encoded: encoded}); err != nil {
							t.Error(err)
						}
						mine = append(mine, row{unit, order, want})
					}
					mu.Lock()
					all = append(all, mine...)
					mu.Unlock()
				}()
			}
			wait.Wait()
			s, err := open()
			if err != nil {
				t.Fatal(err)
			}
			defer s.connector.Close()
			defer s.conn.Close()
			if err := s.exec("ATTACH '" + filepath.Join(t.TempDir(), "out") + "' AS out"); err != nil {
				t.Fatal(err)
			}
			var stored []ingest.Stored
			for i, k := range stageKinds {
				stored = append(stored, ingest.Stored{Name: fmt.Sprintf("列%d", i), Type: algebra.Type{Kind: k}})
			}
			if err := st.close(); err != nil {
				t.Fatal(err)
			}
			if err := s.write(context.Background(), st, stored, c.memory, nil); err != nil {
				t.Fatal(err)
			}

			key := func(r row) uint64 {
				if c.private {
					return r.unit
				}
				return r.order
			}
			slices.SortFunc(all, func(a, b row) int {
				return cmp.Or(cmp.Compare(a.unit, b.unit), cmp.Compare(a.order, b.order))
			})
			type ranked struct {
				row
				pass, rank int
			}
			var want []ranked
			for i, r := range all {
				rank := 1
				if c.private && i > 0 && all[i-1].unit == r.unit {
					rank = want[i-1].rank + 1
				}
				pass, n := 0, st.passes(c.memory)
				for p := range n {
					if int(key(r)>>57) >= p*stageParts/n {
						pass = p
					}
				}
				want = append(want, ranked{r, pass, rank})
			}
			slices.SortStableFunc(want, func(a, b ranked) int {
				return cmp.Or(cmp.Compare(a.pass, b.pass), cmp.Compare(a.rank, b.rank))
			})
			next, columns := 0, len(stored)
			if c.private {
				columns += 2
			}
			if err := s.each("SELECT * FROM out.main.t", columns, func(v []driver.Value) error {
				got := ""
				for i, x := range v[columns-len(stored):] {
					if stageKinds[i] == algebra.Date && x != nil {
						got += fmt.Sprint(" ", x)[:11]
						continue
					}
					got += fmt.Sprint(" ", x)
				}
				if next >= len(want) || got != want[next].want || c.private && (v[0].(uint64) != want[next].unit || int(v[1].(int32)) != want[next].rank) {
					t.Fatalf("row %d: %v", next, v)
				}
				next++
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if next != len(want) || c.memory < 1<<30 && st.passes(c.memory) < 2 {
				t.Fatalf("%d rows of %d, %d passes", next, len(want), st.passes(c.memory))
			}
		})
	}
}

// TestDamagedStageIsRefused: a block that another process changed is no row.
func TestDamagedStageIsRefused(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "stage"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st := newStage(f, true, false, 1)
	encoded, _ := stagedText(rand.New(rand.NewPCG(1, 1)), 5)
	for range 100 {
		if err := st.Lanes()[0].Add(ingest.Row{Unit: 5, Encoded: encoded}); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.close(); err != nil {
		t.Fatal(err)
	}
	for at := range st.size {
		old := make([]byte, 1)
		_, err := f.ReadAt(old, at)
		if err == nil {
			_, err = f.WriteAt([]byte{old[0] ^ 0x41}, at)
		}
		if err != nil {
			t.Fatal(err)
		}
		var p pass
		_ = st.load(&p, 0, stageParts) // refused or another row: never out of bounds
		if _, err := f.WriteAt(old, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(st.size - 1); err != nil {
		t.Fatal(err)
	}
	if err := st.load(&pass{}, 0, stageParts); err == nil {
		t.Fatal("a stage that was cut was read")
	}
}

// TestDriverKeepsItsConnection: the handle that the writer takes out of the driver is
// a connection to the same engine.
func TestDriverKeepsItsConnection(t *testing.T) {
	s, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.connector.Close()
	defer s.conn.Close()
	if h, err := handle(s.conn); err != nil || h.Ptr == nil {
		t.Fatalf("%v, %v", h, err)
	}
	if h, err := handle(&duck.Conn{}); err != nil || h.Ptr != nil {
		t.Fatalf("a closed connection: %v, %v", h, err)
	}
}
