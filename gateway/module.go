package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/wasm"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// partModule is the file of an operator's module, kept beside the models under a key of
// its own: it is nobody else's to read.
const partModule = "module"

// moduleWall is how long bringing a module may take.
const moduleWall = time.Minute

// moduleMeant is the module that a filed product pins, with the types of the columns
// that it must take.
type moduleMeant struct {
	entry.ModelModule
	inputs []wasm.Type
	seq    uint64 // of its entry when it is held
	held   bool
}

// meantModule reads it under the policy in force.
func (d *Domain) meantModule(ctx context.Context, operator, product string) (m moduleMeant, err error) {
	serr := d.settled(ctx, func() {
		var x *policies.Reason
		if m.ModelModule, x = d.state.DecideModule(operator, product); x != nil {
			err = refusal(*x)
			return
		}
		m.seq, m.held = d.state.HeldModule(operator, m.SHA256)
		p, _ := d.state.Book().ModelProduct(product)
		e, ok := d.state.Book().Dataset(p.Model.Dataset)
		if !ok {
			err = refusal(moduleGround(product))
			return
		}
		design, derr := model.NewDesign(*p.Model, e)
		if derr != nil {
			err = refusal(moduleGround(product))
			return
		}
		m.inputs = engine.ModuleInputs(design)
	})
	return m, errors.Join(serr, err)
}

func moduleGround(product string) policies.Reason {
	return policies.Reason{Code: "MODEL_INVALID", Rule: "product/" + product, SetBy: "sandgate", ZH: "产品的模型规格与现行目录不符", EN: "the model of the product does not fit the catalogue in force",
		HintZH: "重新拟稿、登记并送审", HintEN: "draft, file and review it again"}
}

// UploadModule takes in the file of the module that a filed product of the operator's
// pins: those very bytes, within the rules of docs/wasm.md, taking the product's columns.
// Nothing of it runs with data until the product is reviewed and charged.
func (d *Domain) UploadModule(ctx context.Context, operator, product string, file io.Reader) (entry.ModelModule, ledger.Receipt, error) {
	fail := func(err error) (entry.ModelModule, ledger.Receipt, error) {
		return entry.ModelModule{}, ledger.Receipt{}, err
	}
	if err := d.Authorize(operator, policies.ActTrainModel, policies.Resource{}); err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, moduleWall)
	defer cancel()
	// One at a time of an operator: a module is held in memory until it is checked.
	d.mu.Lock()
	busy := d.uploading[operator]
	d.uploading[operator] = true
	d.mu.Unlock()
	if busy {
		return fail(queueFull())
	}
	defer func() {
		d.mu.Lock()
		delete(d.uploading, operator)
		d.mu.Unlock()
	}()
	m, err := d.meantModule(ctx, operator, product)
	if err != nil {
		return fail(err)
	}
	text, err := readWithin(ctx, file, m.Size+1)
	if err != nil {
		return fail(err)
	}
	if int64(len(text)) != m.Size || digestOf(text) != m.SHA256 {
		return fail(refusal(policies.Reason{Code: "MODULE_MISMATCH", Rule: "product/" + product, SetBy: "sandgate", ZH: "文件不是产品所登记的模块：大小或散列不同", EN: "the file is not the module that the product pins: another size or digest",
			HintZH: "上传登记时的文件，或以 sandgate model draft --module 重新拟稿、登记并送审", HintEN: "bring the file that was filed, or draft, file and review the product again with sandgate model draft --module"}))
	}
	if err := d.checkModule(ctx, text, m.inputs); err != nil {
		return fail(err)
	}
	if m.held {
		if kept, err := d.loadModule(operator, m.SHA256); err == nil && bytes.Equal(kept, text) {
			r, err := d.log.Receipt(m.seq)
			return m.ModelModule, r, err
		}
	}
	kept, err := d.openModel(state.ModuleFile(operator, m.SHA256), true)
	if err != nil {
		return fail(err)
	}
	defer kept.close()
	if err := kept.save(partModule, text); err != nil {
		return fail(err)
	}
	var receipt ledger.Receipt
	if m.held { // its file was lost, and is here again
		receipt, err = d.log.Receipt(m.seq)
		return m.ModelModule, receipt, err
	}
	receipt, err = d.append(ctx, func(e *entry.Entry) error {
		now, x := d.state.DecideModule(operator, product)
		if x != nil {
			return refusal(*x)
		}
		if now != m.ModelModule {
			return refusal(policies.Reason{Code: "PRODUCT_CHANGED", Rule: "product/" + product, SetBy: operator, ZH: "产品在上传期间变更，请重试", EN: "the product was changed meanwhile; try again"})
		}
		if d.state.HoldsModule(operator, m.SHA256) {
			return errEnded // another upload of it came first
		}
		e.Kind, e.Actor, e.ModelModule = entry.KindModelModule, "gateway", &now
		return nil
	})
	if errors.Is(err, errEnded) {
		d.log.View(func() { m.seq, _ = d.state.HeldModule(operator, m.SHA256) })
		receipt, err = d.log.Receipt(m.seq)
	}
	if err != nil {
		return fail(err)
	}
	d.opt.Logger.Info("module taken in", "product", product)
	return m.ModelModule, receipt, nil
}

// readWithin reads at most n bytes of a stream that ends with its caller. One that
// stands still is not waited for.
func readWithin(ctx context.Context, file io.Reader, n int64) ([]byte, error) {
	var text []byte
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		text, err = io.ReadAll(io.LimitReader(file, n))
	}()
	select {
	case <-done:
		return text, err
	case <-ctx.Done():
		return nil, refusal(policies.Reason{Code: "DEADLINE_EXCEEDED", Rule: "request", SetBy: "sandgate", ZH: "上传超过一分钟，已中止", EN: "the upload took more than a minute and was ended"})
	}
}

// checkModule holds a module to the rules: by its bytes, then in a jailed worker, where
// its columns are asked for.
func (d *Domain) checkModule(ctx context.Context, text []byte, inputs []wasm.Type) error {
	if _, x := wasm.CheckRows(text); x != nil {
		return refusal(*x)
	}
	if err := d.pool.Restart(ctx); err != nil {
		d.opt.Logger.Error("workers cannot be started")
		return workersDown()
	}
	host := wasm.Host{Pool: d.pool, Limits: wasm.Limits{Module: wasm.RowModule, Memory: wasm.RowMemory}, Interpret: true}
	_, sig, _, err := host.Describe(ctx, text)
	var x *policies.Reason
	if errors.As(err, &x) {
		return refusal(*x)
	}
	if err != nil {
		return workersDown()
	}
	if wasm.RowSignature(sig, inputs) {
		return nil
	}
	want := ""
	for i, t := range inputs {
		if i > 0 {
			want += ", "
		}
		want += t.String()
	}
	return refusal(policies.Reason{Code: "MODULE_COLUMNS", Rule: "wasm abi 1", SetBy: "sandgate", ZH: fmt.Sprintf("模块的输入须依次为 %s，第一个输出须为 f64", want), EN: fmt.Sprintf("the module must take %s, and its first output must be f64", want),
		HintZH: "与规格中 features 的次序和类型一致，见 docs/models.md", HintEN: "in the order and types of the features of the specification, see docs/models.md"})
}

// loadModule returns a module's file as it was reviewed, or damagedModule.
func (d *Domain) loadModule(operator, digest string) ([]byte, error) {
	kept, err := d.openModel(state.ModuleFile(operator, digest), false)
	if err != nil {
		return nil, refusal(damagedModule)
	}
	defer kept.close()
	text, err := kept.load(partModule)
	if err != nil || digestOf(text) != digest {
		return nil, refusal(damagedModule)
	}
	return text, nil
}

// damagedModule is a module's file that is missing, or is not the one of the ledger.
var damagedModule = policies.Reason{Code: "MODULE_DAMAGED", Rule: "ledger", SetBy: "sandgate",
	ZH: "存放的模块缺失，或与账本所记散列不符，未运行", EN: "the stored module is missing, or is not the one that the ledger names; it was not run",
	HintZH: "用 sandgate model upload 再次上传", HintEN: "bring it again with sandgate model upload"}

// moduleOf is the file that a training runs; none unless its model is a module.
func (d *Domain) moduleOf(t *training) ([]byte, error) {
	spec := t.job.Design.Spec
	if spec.Family != policies.FamilyModule {
		return nil, nil
	}
	return d.loadModule(t.ask.Operator, spec.Module.SHA256)
}

// countModule takes a worker through the one pass of a module: its counts are noised,
// and its certificate says that nothing was trained.
func countModule(run *engine.ModelRun, kept *modelFiles, job engine.ModelJob, o *oracle) (*trained, error) {
	out := &trained{parameters: job.Module}
	var err error
	if out.figures, err = o.figures(job.Design, o.plan.Evaluation, 0); err != nil {
		return nil, err
	}
	if out.figures == nil {
		out.certificate = policies.ModuleCertificate("", Version())
		return out, nil
	}
	out.certificate = policies.ModuleCertificate(digestOf(out.figures), Version())
	return out, kept.save(partFigures, out.figures)
}

func (s *modelService) UploadModule(stream grpc.ClientStreamingServer[sandgatev1.UploadModuleRequest, sandgatev1.UploadModuleResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.GetProduct() == "" || len(first.GetProduct()) > 64 {
		return invalid("PRODUCT_MISSING", "缺少模型产品 product", "product is missing")
	}
	file := &moduleStream{next: first.GetChunk(), recv: stream.Recv}
	m, receipt, err := s.d.UploadModule(stream.Context(), caller(stream.Context()), first.GetProduct(), file)
	if err != nil {
		return err
	}
	return stream.SendAndClose(&sandgatev1.UploadModuleResponse{Digest: m.SHA256, Size: m.Size, Receipt: receiptOf(receipt)})
}

// moduleStream reads the chunks of a stream as one file.
type moduleStream struct {
	next []byte
	recv func() (*sandgatev1.UploadModuleRequest, error)
}

func (m *moduleStream) Read(p []byte) (int, error) {
	for len(m.next) == 0 {
		msg, err := m.recv()
		if err != nil {
			return 0, err // io.EOF at the end
		}
		if msg.GetProduct() != "" {
			return 0, invalid("PRODUCT_AGAIN", "product 只写在第一条消息中", "product stands in the first message alone")
		}
		m.next = msg.GetChunk()
	}
	n := copy(p, m.next)
	m.next = m.next[n:]
	return n, nil
}
