package attack

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sandgate/sandgate/compute/twin"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/internal/leak"
)

// A published twin, as an operator downloads and draws from it, tells no more of the
// residents it was learned of than of others: singling out, linkage, inference, copies,
// and a code that hardly anybody has. The same attacks see records that are handed out.
func TestR03_Attack18_PublishedTwin(t *testing.T) {
	a := Shared(t)
	const units, rare = 4000, "R"
	r := rand.New(rand.NewPCG(18, 3))
	names := []string{"district", "education", "job", "visits", "income", "household", "scheme", "chapter"}
	sizes := []int{12, 7, 15, 21, 12, 8, 4, 18}
	resident := func() []uint16 {
		age := r.Float64()
		near := func(n int, at float64) uint16 {
			return uint16(max(0, min(float64(n-1), at*float64(n)+r.NormFloat64()*float64(n)/7)))
		}
		district, education := near(12, 0.4), near(7, 1-age)
		return []uint16{district, education, near(15, float64(education)/7), near(21, age/2), near(12, float64(education)/8), near(8, 0.6-age/2), district / 3, near(18, age)}
	}
	var members, control leak.Coded = make(leak.Coded, len(sizes)), make(leak.Coded, len(sizes))
	for range units {
		for c, x := range resident() {
			members[c] = append(members[c], x)
		}
		for c, x := range resident() {
			control[c] = append(control[c], x)
		}
	}
	var columns []Column
	for c, name := range names {
		if c == 0 || c == 2 || c == 7 {
			list := []string{rare}
			for i := range sizes[c] {
				list = append(list, fmt.Sprintf("%c%02d", 'A'+c, i))
			}
			columns = append(columns, codes(name, "key, filter", list...))
			continue
		}
		columns = append(columns, column(name, 0, sizes[c]-1, "filter"))
	}
	value := func(c int, x uint16) string {
		if c == 0 || c == 2 || c == 7 {
			return fmt.Sprintf("%c%02d", 'A'+c, x)
		}
		return fmt.Sprint(x)
	}
	var csv strings.Builder
	csv.WriteString("id," + strings.Join(names, ",") + "\n")
	for i := range units {
		fmt.Fprintf(&csv, "u%d", i)
		for c := range names {
			if v := value(c, members[c][i]); c == 7 && i%800 == 0 {
				csv.WriteString("," + rare) // five of them
			} else {
				csv.WriteString("," + v)
			}
		}
		csv.WriteString("\n")
	}
	a.Add(t, Table{ID: "likeness", Rule: `twin: {rho: "0.0244"}`, Columns: columns, CSV: csv.String()})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	published, err := a.Client(Department).Publish(ctx, &sandgatev1.PublishTwinRequest{RequestId: uuid.NewString(), Dataset: "likeness", Rho: "0.02435597"}, nil)
	if err != nil || published.GetState() != sandgatev1.Twin_STATE_PUBLISHED {
		t.Fatalf("%v: %v", published, err)
	}
	file, err := a.Client(Op(0)).Twin.DownloadTwin(ctx, &sandgatev1.DownloadTwinRequest{Name: published.GetName()})
	if err != nil {
		t.Fatal(err)
	}
	x, err := twin.Parse(file.GetDocument())
	if err != nil {
		t.Fatal(err)
	}
	sampler, err := x.Sampler([]byte("attack"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := sampler.Rows(0, units)
	if err != nil {
		t.Fatal(err)
	}
	drawn, rares := make(leak.Coded, len(names)), 0
	for i, name := range sampler.Names() {
		for c := range names {
			if names[c] != name {
				continue
			}
			for _, v := range rows.Columns[i].Ints {
				drawn[c] = append(drawn[c], uint16(v))
			}
			for _, v := range rows.Columns[i].Texts {
				var n uint16
				if v == rare {
					rares++
				} else if _, err := fmt.Sscanf(v[1:], "%d", &n); err != nil {
					t.Fatal(err)
				}
				drawn[c] = append(drawn[c], n)
			}
		}
	}
	if drawn.Rows() != units {
		t.Fatalf("%d rows of %d units", drawn.Rows(), units)
	}
	tried := Trials(600, 2000)
	for name, attack := range map[string]func(drawn, d leak.Coded) leak.Rate{
		"same cells in all columns": leak.Copies,
		"linkage":                   func(drawn, d leak.Coded) leak.Rate { return leak.Linked(drawn, d, tried) },
		"inference":                 func(drawn, d leak.Coded) leak.Rate { return leak.Inferred(drawn, d, 7, tried) },
		"singling out by 3 columns": func(drawn, d leak.Coded) leak.Rate { return leak.SingledOut(drawn, d, 3, 1) },
		"singling out by 5 columns": func(drawn, d leak.Coded) leak.Rate { return leak.SingledOut(drawn, d, 5, 1) },
	} {
		in, out := attack(drawn, members), attack(drawn, control)
		bareIn, bareOut := attack(members, members), attack(members, control)
		if !leak.More(bareIn, bareOut) {
			t.Errorf("%s: handing out the records themselves goes unnoticed (%.4f, %.4f)", name, bareIn.Share, bareOut.Share)
		}
		Record(t, Score{Attack: "18 a published twin: " + name, Figure: fmt.Sprintf("%.3f of members, %.3f of others", in.Share, out.Share),
			Bound: fmt.Sprintf("of others + %.3f", leak.Margin(in, out)), Control: fmt.Sprintf("the records themselves: %.3f, %.3f", bareIn.Share, bareOut.Share),
			Pass: !leak.More(in, out), Trials: in.Trials + out.Trials})
	}
	Record(t, Score{Attack: "18 a published twin: a code that five of 4 000 have", Figure: rares, Bound: 0, Control: "5 in the data", Pass: rares == 0, Trials: units})
}
