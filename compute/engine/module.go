package engine

import (
	"context"
	"errors"
	"math"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/wasm"
)

// ModuleInputs are the types that a module must take to score the rows of a design.
func ModuleInputs(design model.Design) []wasm.Type {
	var out []wasm.Type
	for _, t := range design.ModuleColumns() {
		out = append(out, map[model.ModuleType]wasm.Type{model.ModuleInt: wasm.Int64, model.ModuleFloat: wasm.Float64, model.ModuleText: wasm.Text}[t])
	}
	return out
}

// Module scores coded rows by an operator's module, in the worker that holds them.
type Module struct {
	design model.Design
	inputs []wasm.Type
	rows   *wasm.Rows
}

// OpenModule prepares a module for the rows of a design, before any row is read. The
// error depends on the module alone. Close it.
func OpenModule(ctx context.Context, file []byte, design model.Design) (*Module, error) {
	m := &Module{design: design, inputs: ModuleInputs(design)}
	var err error
	m.rows, err = wasm.NewRows(ctx, file, m.inputs)
	return m, err
}

// Close lets go of the module.
func (m *Module) Close() error { return m.rows.Close() }

var errModuleRows = errors.New("failed to score rows: they are not those of the module's design")

// Scores are the scores of all rows, each by itself; NaN where there is none.
func (m *Module) Scores(d *model.Data) ([]float64, error) {
	if len(d.Bins) != len(m.design.Features) || len(d.Exact) != len(m.design.Features) {
		return nil, errModuleRows
	}
	columns := make([]wasm.Column, len(m.inputs))
	for i, t := range m.inputs {
		columns[i] = wasm.Column{Type: t, Valid: make([]bool, 1)}
		switch t {
		case wasm.Int64:
			columns[i].Ints = make([]int64, 1)
		case wasm.Float64:
			columns[i].Floats = make([]float64, 1)
		default:
			columns[i].Texts = make([]string, 1)
		}
	}
	out := make([]float64, d.Rows())
	for r := range out {
		for i, f := range m.design.Features {
			v, c := d.ModuleValue(f, i, r), &columns[i]
			c.Valid[0] = !v.Missing
			switch c.Type {
			case wasm.Int64:
				c.Ints[0] = v.Int
			case wasm.Float64:
				c.Floats[0] = v.Float
			default:
				c.Texts[0] = v.Text
			}
		}
		score, ok, err := m.rows.Score(wasm.Batch{Rows: 1, Columns: columns})
		if err != nil {
			return nil, errModuleRows
		}
		if out[r] = score; !ok {
			out[r] = math.NaN()
		}
	}
	return out, nil
}
