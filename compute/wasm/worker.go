package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/sandgate/sandgate/sandbox"
)

// Handlers of the two kinds of workers. Only the first may make code, and only
// until its module is compiled.
const (
	compileHandler   = "wasm.compile"
	interpretHandler = "wasm.interpret"
)

func init() {
	sandbox.RegisterWith(compileHandler, sandbox.Registration{Code: true, Handler: compileJob})
	sandbox.Register(interpretHandler, interpretJob)
}

// Tags of the worker's frames.
const (
	tagBegun    = 'B' // the wall clock of compiling begins
	tagCompiled = 'C' // the signature follows
	tagScores   = 'S' // NaN count and one batch's scores follow
	tagRefused  = 'R' // a refusalFrame follows
)

// jobHead precedes the module in a job's payload.
type jobHead struct {
	Memory int64 `json:"memory"` // most linear memory in bytes
	// Describe ends the job once the signature is known.
	Describe bool `json:"describe,omitempty"`
}

// refusalFrame says why a worker gives up: a code, and of what the module did
// one number of a closed list or one the module chose.
type refusalFrame struct {
	Code  string `json:"code"`
	Trap  int    `json:"trap,omitempty"`
	Guest int32  `json:"guest,omitempty"`
}

// encodePayload puts head and module together.
func encodePayload(head jobHead, module []byte) ([]byte, error) {
	raw, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	out := binary.LittleEndian.AppendUint32(make([]byte, 0, 4+len(raw)+len(module)), uint32(len(raw)))
	return append(append(out, raw...), module...), nil
}

func decodePayload(payload []byte) (head jobHead, module []byte, err error) {
	if len(payload) < 4 || uint64(binary.LittleEndian.Uint32(payload)) > uint64(len(payload)-4) {
		return head, nil, errors.New("job payload is cut")
	}
	n := binary.LittleEndian.Uint32(payload)
	err = json.Unmarshal(payload[4:4+n], &head)
	return head, payload[4+n:], err
}

func compileJob(ctx context.Context, payload []byte, files []*os.File, emit func([]byte) error) error {
	return work(ctx, payload, files, emit, wazero.NewRuntimeConfigCompiler(), sandbox.SealCode)
}

func interpretJob(ctx context.Context, payload []byte, files []*os.File, emit func([]byte) error) error {
	return work(ctx, payload, files, emit, wazero.NewRuntimeConfigInterpreter(), func() error { return nil })
}

// refusal is a refusalFrame on its way out of the worker.
type refusal struct{ refusalFrame }

func (r *refusal) Error() string { return r.Code }

func no(code string) error { return &refusal{refusalFrame{Code: code}} }

// work compiles a module, seals the worker, and scores batches from the pipe
// until an empty frame ends them.
func work(ctx context.Context, payload []byte, files []*os.File, emit func([]byte) error, config wazero.RuntimeConfig, seal func() error) error {
	head, module, err := decodePayload(payload)
	if err != nil || !head.Describe && len(files) != 1 {
		return errors.New("not a job of this worker")
	}
	if err := emit([]byte{tagBegun}); err != nil {
		return err
	}
	err = score(ctx, head, module, files, emit, config, seal)
	var told *refusal
	if !errors.As(err, &told) {
		return err
	}
	raw, err := json.Marshal(told.refusalFrame)
	if err != nil {
		return err
	}
	return emit(append([]byte{tagRefused}, raw...))
}

func score(ctx context.Context, head jobHead, module []byte, files []*os.File, emit func([]byte) error, config wazero.RuntimeConfig, seal func() error) error {
	config = config.WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(uint32(head.Memory / PageBytes)).WithDebugInfoEnabled(false)
	runtime := wazero.NewRuntimeWithConfig(ctx, config)
	compiled, err := runtime.CompileModule(ctx, module)
	if err != nil {
		return no(CodeInvalid)
	}
	// From here on nothing in this process becomes executable.
	if err := seal(); err != nil {
		return err
	}
	g := &guest{runtime: runtime, compiled: compiled}
	g.ctx = experimental.WithMemoryAllocator(ctx, &g.arena)
	sig, err := g.describe()
	if err != nil {
		return err
	}
	raw, err := json.Marshal(sig)
	if err != nil {
		return err
	}
	if err := emit(append([]byte{tagCompiled}, raw...)); err != nil || head.Describe {
		return err
	}
	var block, once, twice []byte
	for {
		if block, err = readBlock(files[0], block); err != nil || len(block) == 0 {
			return err
		}
		rows, outputs, ok := parseBlock(block, sig)
		if !ok {
			return errors.New("not a block")
		}
		const headLength = 5 // tag and NaN count
		var nans int
		if once, nans, err = g.run(slices.Grow(once[:0], headLength)[:headLength], block, rows, outputs, sig); err != nil {
			return err
		}
		if twice, _, err = g.run(slices.Grow(twice[:0], headLength)[:headLength], block, rows, outputs, sig); err != nil {
			return err
		}
		if !bytes.Equal(once[headLength:], twice[headLength:]) {
			return no(CodeUnstable)
		}
		once[0] = tagScores
		binary.LittleEndian.PutUint32(once[1:], uint32(nans))
		if err := emit(once); err != nil {
			return err
		}
	}
}

// readBlock reads one frame into dst, which it lets grow once rather than by
// steps: the frame comes from the gateway's side.
func readBlock(r io.Reader, dst []byte) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint32(head[:]))
	if n > MaxBlock {
		return nil, sandbox.ErrFrame
	}
	dst = slices.Grow(dst[:0], n)[:n]
	_, err := io.ReadFull(r, dst)
	return dst, err
}

// guest makes instances of one compiled module, one after the other.
type guest struct {
	ctx      context.Context
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	arena    arena
}

// disturb lets a test change what a run left, as a guest whose runs differ would.
var disturb func(scores []byte)

// instanceConfig looks for no start function: _initialize is called where it is exported.
// Random numbers are imported by nobody; a source that need not be seeded saves a third
// of what an instance costs.
var instanceConfig = wazero.NewModuleConfig().WithName("").WithStartFunctions().WithRandSource(strings.NewReader(""))

// instance calls use with a fresh instance and throws it away.
func (g *guest) instance(use func(api.Module) error) (err error) {
	defer func() {
		switch failed := recover().(type) {
		case nil:
		case noArena:
			err = no(CodeOutOfMemory)
		default:
			panic(failed)
		}
	}()
	instance, err := g.runtime.InstantiateModule(g.ctx, g.compiled, instanceConfig)
	if err != nil {
		return instantiation(err)
	}
	defer func() { err = errors.Join(err, instance.Close(g.ctx)) }()
	if init := instance.ExportedFunction("_initialize"); init != nil {
		if _, err := init.Call(g.ctx); err != nil {
			return trapOf(err)
		}
	}
	return use(instance)
}

// call runs an export that answers one i32.
func (g *guest) call(instance api.Module, name string, args ...uint64) (int32, error) {
	f := instance.ExportedFunction(name)
	if f == nil {
		return 0, no(CodeABI)
	}
	answer, err := f.Call(g.ctx, args...)
	if err != nil {
		return 0, trapOf(err)
	}
	if len(answer) != 1 {
		return 0, no(CodeABI)
	}
	return int32(uint32(answer[0])), nil
}

// describe asks the module for its ABI version and its columns.
func (g *guest) describe() (sig Signature, err error) {
	err = g.instance(func(instance api.Module) error {
		if version, err := g.call(instance, "sandgate_abi"); err != nil || version != ABIVersion {
			return errors.Join(err, no(CodeABI))
		}
		for i := range MaxInputs + MaxOutputs + 1 {
			answer, err := g.call(instance, "sandgate_column", uint64(i))
			if err != nil {
				return err
			}
			switch {
			case answer == 0:
				if !sig.check() {
					return no(CodeABI)
				}
				return nil
			case answer&outputBit != 0:
				sig.Outputs = append(sig.Outputs, Type(answer&^outputBit))
			case len(sig.Outputs) > 0:
				return no(CodeABI) // an input after an output
			default:
				sig.Inputs = append(sig.Inputs, Type(answer))
			}
		}
		return no(CodeABI)
	})
	return sig, err
}

// run scores one block in a fresh instance and appends the scores to dst.
func (g *guest) run(dst, block []byte, rows int, outputs []place, sig Signature) (scores []byte, nans int, err error) {
	err = g.instance(func(instance api.Module) error {
		address, err := g.call(instance, "sandgate_alloc", uint64(len(block)))
		if err != nil {
			return err
		}
		base := uint32(address)
		memory := instance.Memory()
		if base == 0 || base%8 != 0 || !memory.Write(base, block) {
			return no(CodeAlloc)
		}
		own, ok := memory.Read(base, uint32(len(block)))
		if !ok {
			return no(CodeAlloc)
		}
		rebase(own, len(sig.Inputs)+len(sig.Outputs), base)
		done, err := g.call(instance, "sandgate_score", uint64(base))
		switch {
		case err != nil:
			return err
		case done < 0:
			return &refusal{refusalFrame{Code: CodeGuest, Guest: done}}
		case int(done) != rows:
			return no(CodeLength)
		}
		// Growing may have moved the memory; the block's own words are the
		// module's by now, so only the host's places count.
		if own, ok = memory.Read(base, uint32(len(block))); !ok {
			return no(CodeAlloc)
		}
		scores, nans = collectScores(dst, own, rows, outputs)
		if disturb != nil {
			disturb(scores)
		}
		return nil
	})
	return scores, nans, err
}

// trapOf turns an engine's error into a refusal; its text goes no further.
func trapOf(err error) error {
	// The lines that follow name functions of the module.
	first, _, _ := strings.Cut(err.Error(), "\n")
	for i, name := range trapNames {
		if strings.HasSuffix(first, name) {
			return &refusal{refusalFrame{Code: CodeTrap, Trap: i}}
		}
	}
	return &refusal{refusalFrame{Code: CodeTrap, Trap: len(trapNames) - 1}}
}

// instantiation is trapOf for an instance that did not come to be: a segment out
// of bounds, or an import, which no module that passed Check has.
func instantiation(err error) error {
	if strings.Contains(err.Error(), "wasm error: ") {
		return trapOf(err)
	}
	return no(CodeInvalid)
}
