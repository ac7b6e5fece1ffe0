package wasm

import (
	"context"
	"errors"
	"math"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/sandgate/sandgate/policies"
)

// Bounds of a module that scores the rows of people.
const (
	// RowFuel is how many instructions a row may take, its instance's _initialize
	// included.
	RowFuel = 1_000_000
	// RowMemory is the most linear memory such a module may declare, in bytes.
	RowMemory = 64 << 20
	// RowModule is the most bytes it may have.
	RowModule = policies.MostModuleBytes
)

// CheckRows is Check for a module that scores the rows of people.
func CheckRows(module []byte) (*Report, *policies.Reason) {
	return Check(module, RowModule, RowMemory)
}

// RowSignature says whether a module takes these inputs and begins its outputs with the
// score, a float. Further outputs are not looked at.
func RowSignature(sig Signature, inputs []Type) bool {
	if len(sig.Inputs) != len(inputs) || len(sig.Outputs) == 0 || sig.Outputs[0] != Float64 {
		return false
	}
	for i, t := range inputs {
		if sig.Inputs[i] != t {
			return false
		}
	}
	return true
}

// Rows scores rows one by one in the calling process, which is a jailed worker: by the
// interpreter, which makes no code, and each row in an instance of its own whose memory
// starts from zero. So a score is a function of its row alone. A row at which the module
// traps, runs out of fuel or memory, or breaks the ABI, has no score, and nothing else
// comes of it. It is for one goroutine.
type Rows struct {
	guest guest
	sig   Signature
	seen  map[string]float64 // block → score; NaN for none
	dst   []byte
}

// seenRows is how many different rows are remembered.
const seenRows = 1 << 16

// nan is the score of a row that has none.
var nan = math.NaN()

var errModule = errors.New("failed to prepare module: it is not one that was checked, or has other columns")

// NewRows prepares a module that CheckRows accepted for rows of these columns. The error
// depends on the module alone. Close it.
func NewRows(ctx context.Context, module []byte, inputs []Type) (*Rows, error) {
	if _, refused := CheckRows(module); refused != nil {
		return nil, errModule
	}
	metered, refused := Meter(module, RowFuel)
	if refused != nil {
		return nil, errModule
	}
	config := wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(RowMemory / PageBytes).WithDebugInfoEnabled(false)
	r := &Rows{seen: map[string]float64{}}
	r.guest.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	r.guest.ctx = experimental.WithMemoryAllocator(ctx, &r.guest.arena)
	var err error
	if r.guest.compiled, err = r.guest.runtime.CompileModule(ctx, metered); err == nil {
		r.sig, err = r.guest.describe()
	}
	if err != nil || !RowSignature(r.sig, inputs) {
		return nil, errors.Join(errModule, r.Close())
	}
	return r, nil
}

// Close lets go of the module.
func (r *Rows) Close() error {
	err := r.guest.runtime.Close(r.guest.ctx)
	r.guest.arena.release()
	return err
}

// Score scores the one row of a batch; ok is false when it has no score. An error is the
// caller's: the batch is no row of these columns.
func (r *Rows) Score(row Batch) (score float64, ok bool, err error) {
	if row.Rows != 1 {
		return 0, false, errBatchShape
	}
	block, err := EncodeBlock(row, r.sig)
	if err != nil {
		return 0, false, err
	}
	score, known := r.seen[string(block)]
	if !known {
		score = r.run(block)
		if len(r.seen) < seenRows {
			r.seen[string(block)] = score
		}
	}
	return score, score == score, nil
}

// run scores a block of one row; what is no number is no score.
func (r *Rows) run(block []byte) float64 {
	_, outputs, ok := parseBlock(block, r.sig)
	if !ok {
		return nan
	}
	scores, _, err := r.guest.run(r.dst[:0], block, 1, outputs, r.sig)
	if err != nil {
		return nan
	}
	r.dst = scores
	columns, err := DecodeScores(scores, 1, r.sig.Outputs)
	if err != nil || !columns[0].valid(0) {
		return nan
	}
	return columns[0].Floats[0]
}
