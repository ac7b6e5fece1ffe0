package gateway

import (
	"context"
	"errors"
	"slices"

	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// tied are the published relations that a rehearsal draws its tables by.
type tied struct {
	of    state.Relations
	party string
}

// digest names what ties a table; empty for one that is drawn by itself.
func (t *tied) digest() string {
	if t == nil {
		return ""
	}
	return t.of.Published.Certificate.Document
}

// table is the place of a data set; false for one that is not tied.
func (t *tied) table(dataset string) (int, bool) {
	if t == nil {
		return 0, false
	}
	i := slices.Index(t.of.Request.Spec.Datasets(), dataset)
	return i, i >= 0
}

// units of a draw of a data set's twin: of tied tables, as many as have a row in any.
func (t *tied) units(run TwinRun, dataset string, x *twin.Twin) int64 {
	if _, ok := t.table(dataset); ok && run.Units == 0 {
		return min(max(t.of.Published.Certificate.Units, 1), syntheticUnits)
	}
	return run.units(x)
}

// tie finds the relations in force that tie most of these data sets, at least two, the
// last published of equals. What the party may not read, or is withheld or stale, ties
// nothing: the tables are then drawn by themselves, and untied says why the last of such
// relations were left aside. It takes the sequencer itself.
func (d *Domain) tie(ctx context.Context, party string, datasets []string) (by *tied, untied *policies.Reason, err error) {
	rule, best := policies.WaitPublished, 1
	if err := d.settled(ctx, func() {
		for _, id := range slices.Backward(d.state.AllRelations()) {
			r, _ := d.state.Relations(id)
			ties := 0
			for _, x := range r.Request.Spec.Datasets() {
				if slices.Contains(datasets, x) {
					ties++
				}
			}
			if r.Phase != state.PhaseReleased || ties <= best {
				continue
			}
			var why *policies.Reason
			if _, ferr := d.relationsFor(party, "relations/"+id); ferr != nil {
				var refused *Refusal
				if !errors.As(ferr, &refused) || refused.Reasons[0].Code == "NOT_FOUND" {
					continue // it is nothing that this party is told of
				}
				why = &refused.Reasons[0]
			} else {
				why = d.state.StaleRelations(id)
			}
			if why == nil {
				by, best, rule = &tied{of: r, party: party}, ties, d.waitOfRelations(r)
			} else if untied == nil {
				untied = why
			}
		}
	}); err != nil {
		return nil, nil, err
	}
	if by == nil {
		return nil, untied, nil
	}
	return by, nil, d.settledBy(ctx, rule, by.of.FinishSeq)
}

// rowsOf are rows with the number of each one's unit.
type rowsOf func(from uint64, units int) (twin.LinkedRows, error)

// alone draws a twin's rows by itself: every unit has one at least.
func alone(t *twin.Twin, seed []byte) (rowsOf, error) {
	s, err := t.Sampler(seed)
	if err != nil {
		return nil, err
	}
	return func(from uint64, units int) (twin.LinkedRows, error) {
		rows, err := s.Rows(from, units)
		out := twin.LinkedRows{Rows: rows}
		number := from
		for i, rank := range rows.Ranks {
			if rank == 1 && i > 0 {
				number++
			}
			out.Numbers = append(out.Numbers, number)
		}
		return out, err
	}, nil
}

// rows draws a table of relations, of their document and those of all twins.
func (d *Domain) tiedRows(ctx context.Context, by *tied, table int, seed []byte) (rowsOf, error) {
	text, err := d.relationsDocument(by.of)
	if err != nil {
		return nil, err
	}
	r, err := twin.ParseRelations(text)
	if err != nil {
		return nil, refusal(damagedRelations)
	}
	var twins []*twin.Twin
	for i, id := range by.of.Request.Spec.Datasets() {
		t, digest, err := d.publishedTwin(ctx, by.party, id)
		if err != nil {
			return nil, err
		}
		if digest != by.of.Reserved.Tables[i].Document {
			return nil, refusal(policies.Reason{Code: "POLICY_CHANGED", Rule: "policy", ZH: "受理期间规则或数据已变更，请重试", EN: "the rules or the data changed meanwhile; try again"})
		}
		twins = append(twins, t)
	}
	linked, err := twin.NewLinked(r, twins, seed)
	if err != nil {
		return nil, refusal(damagedRelations)
	}
	return func(from uint64, units int) (twin.LinkedRows, error) { return linked.Rows(table, from, units) }, nil
}

// errNoRows is a tied table in which none of so few units has a row.
func errNoRows() error {
	return refusal(policies.Reason{Code: "TWIN_SIZE", Rule: "twin", SetBy: "sandgate",
		ZH: "合成单元过少：相系的表中有一张没有行", EN: "too few synthetic units: one of the tied tables has no row",
		HintZH: "用 --units 抽取较多的单元", HintEN: "draw more with --units"})
}
