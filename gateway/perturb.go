package gateway

import (
	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies"
)

// ingestMask is a column's mask as ingest wants it.
func ingestMask(c policies.Column, m policies.Mask) *ingest.Mask {
	p := policies.MaskParams(c, m, nil)
	return &ingest.Mask{Op: m.Op, Digits: p.Digits, Value: p.Value, Level: p.Level, At: p.At, Edges: p.Edges, Width: p.Width, Lo: p.Lo, Hi: p.Hi,
		Column: p.Column, Scale: p.Scale, Retain: p.Retain, Codes: p.Codes, By: p.By, Least: p.Least, K: p.K, Suppress: p.Suppress, Ladder: p.Ladder}
}

// maskParams is the way back, inside the worker.
func maskParams(m ingest.Mask, source algebra.Type, key []byte) masking.Params {
	return masking.Params{Digits: m.Digits, Value: m.Value, Level: m.Level, At: m.At, Edges: m.Edges, Width: m.Width, Lo: m.Lo, Hi: m.Hi,
		Column: m.Column, Scale: m.Scale, Retain: m.Retain, Codes: m.Codes, By: m.By, Least: m.Least, K: m.K, Suppress: m.Suppress, Ladder: m.Ladder,
		Key: key, Type: source}
}

// generalised is what the ledger says of an ingest's k-anonymous columns: the rungs by
// name and the suppressed share in whole percent. Both are facts of the table as a
// whole, and policies.CheckGeneralised holds them to what was registered.
func generalised(e policies.Entry, m engine.Manifest) *policies.Generalised {
	if m.Generalised == nil {
		return nil
	}
	out := &policies.Generalised{Rungs: map[string]string{}, Suppressed: m.Generalised.Suppressed}
	n := 0
	for _, c := range e.Dataset.Columns {
		mask := e.Masks[c.Name]
		if mask.Op != masking.OpKAnonymous {
			continue
		}
		rung := policies.RungExact
		if level := m.Generalised.Levels[n]; level > 0 {
			rung = mask.Ladder[level-1]
		}
		out.Rungs[c.Name] = rung
		n++
	}
	return out
}
