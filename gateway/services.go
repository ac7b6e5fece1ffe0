package gateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/release"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

type operatorService struct {
	sandgatev1.UnimplementedOperatorServiceServer
	d *Domain
}

func querySpec(q *sandgatev1.QuerySpec) (Query, error) {
	switch {
	case q.GetLicence() == "":
		return Query{}, invalid("LICENCE_MISSING", "缺少授权编号 licence", "licence is missing")
	case q.GetPurpose() == "":
		return Query{}, invalid("PURPOSE_MISSING", "缺少用途 purpose", "purpose is missing")
	case q.GetProduct() != "" && q.GetSql() != "":
		return Query{}, invalid("PRODUCT_WITH_SQL", "运行产品时不得另给 sql", "a product brings its own text: leave sql out")
	case len(q.GetProduct()) > 64:
		return Query{}, invalid("ID_TOO_LONG", "编号过长", "an id is too long")
	case q.GetSql() == "" && q.GetProduct() == "":
		return Query{}, invalid("SQL_MISSING", "缺少查询语句 sql", "sql is missing")
	case q.GetPriceNanoRho() < 0:
		return Query{}, invalid("PRICE_NEGATIVE", "价格不能为负", "the price must not be negative")
	case len(q.GetLicence()) > 64 || len(q.GetPurpose()) > 64:
		return Query{}, invalid("ID_TOO_LONG", "编号过长", "an id is too long")
	}
	size := 0
	for _, p := range q.GetParameters() {
		if size += len(p); strings.ContainsRune(p, 0) {
			return Query{}, invalid("PARAMETER_VALUE", "参数中有 NUL 字符", "a parameter holds a NUL character")
		}
	}
	if len(q.GetParameters()) > maxParameters || size > maxParameterBytes {
		return Query{}, invalid("PARAMETERS_TOO_LARGE", "参数过多或过长：至多 100 个，共 16 KiB", "too many or too long parameters: 100 at most, 16 KiB together")
	}
	if len(q.GetTargetErrors()) > algebra.MaxAggs {
		return Query{}, invalid("TARGET_ERROR", "目标误差过多", "too many target errors")
	}
	out := Query{Licence: q.GetLicence(), Purpose: q.GetPurpose(), SQL: q.GetSql(), Price: budget.Nano(q.GetPriceNanoRho()), Parameters: q.GetParameters(), Product: q.GetProduct()}
	for _, t := range q.GetTargetErrors() {
		out.Targets = append(out.Targets, TargetError{Column: t.GetColumn(), HalfWidth: t.GetHalfWidth(), Values: t.GetValues()})
	}
	return out, nil
}

func (s *operatorService) SubmitJob(ctx context.Context, req *sandgatev1.SubmitJobRequest) (*longrunningpb.Operation, error) {
	q, err := querySpec(req.GetQuery())
	if err != nil {
		return nil, err
	}
	if req.GetValidateOnly() {
		x, err := s.d.Explain(ctx, caller(ctx), q)
		if err != nil {
			return nil, err
		}
		return done("operations/explain", nil, explanation(x))
	}
	if req.GetTwin() != nil {
		id, err := s.d.Rehearse(ctx, caller(ctx), req.GetRequestId(), q, asTwinRun(req.GetTwin()))
		if err != nil {
			return nil, err
		}
		return s.d.rehearsalOperation(ctx, id)
	}
	q.Signed, q.Salt = req.GetSignedRequest(), req.GetSalt()
	if a, ok, err := s.d.Free(ctx, caller(ctx), q); err != nil {
		return nil, err
	} else if ok {
		return done("operations/free", nil, releaseOf(a))
	}
	job, err := s.d.Submit(ctx, caller(ctx), req.GetRequestId(), q)
	if err != nil {
		return nil, err
	}
	return operationOf(ctx, s.d, job)
}

func (s *operatorService) ExplainJob(ctx context.Context, req *sandgatev1.ExplainJobRequest) (*sandgatev1.ExplainJobResponse, error) {
	q, err := querySpec(req.GetQuery())
	if err != nil {
		return nil, err
	}
	x, err := s.d.Explain(ctx, caller(ctx), q)
	if err != nil {
		return nil, err
	}
	return explanation(x), nil
}

// jobID reads a job's id from its name or from its release's, jobs/ID/releases/1:
// a client hands back either.
func jobID(name string) string {
	return strings.TrimSuffix(strings.TrimPrefix(name, "jobs/"), "/releases/1")
}

func (s *operatorService) GetJob(ctx context.Context, req *sandgatev1.GetJobRequest) (*sandgatev1.Job, error) {
	if id := jobID(req.GetName()); isRehearsal(id) {
		return s.d.rehearsalJob(caller(ctx), id)
	}
	j, err := s.d.Job(caller(ctx), jobID(req.GetName()))
	if err != nil {
		return nil, err
	}
	return s.d.jobOf(j), nil
}

func (s *operatorService) ListJobs(ctx context.Context, req *sandgatev1.ListJobsRequest) (*sandgatev1.ListJobsResponse, error) {
	all, err := s.d.Jobs(caller(ctx))
	if err != nil {
		return nil, err
	}
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	out := &sandgatev1.ListJobsResponse{NextPageToken: next}
	for _, j := range page {
		out.Jobs = append(out.Jobs, s.d.jobOf(j))
	}
	return out, nil
}

func (s *operatorService) GetRelease(ctx context.Context, req *sandgatev1.GetReleaseRequest) (*sandgatev1.Release, error) {
	look := s.d.Answer
	if req.GetReleasedOnly() {
		look = s.d.Released
	}
	id := jobID(req.GetName())
	if isRehearsal(id) {
		look = func(ctx context.Context, party, id string) (*Answer, error) {
			return s.d.RehearsalAnswer(ctx, party, id, req.GetReleasedOnly())
		}
	}
	a, err := look(ctx, caller(ctx), id)
	if err != nil {
		return nil, err
	}
	return releaseOf(a), nil
}

func (s *operatorService) ListBudgets(ctx context.Context, req *sandgatev1.ListBudgetsRequest) (*sandgatev1.ListBudgetsResponse, error) {
	lines, err := s.d.Budgets(caller(ctx), req.GetLicence())
	if err != nil {
		return nil, err
	}
	return &sandgatev1.ListBudgetsResponse{Budgets: budgetsOf(lines)}, nil
}

func (s *operatorService) ListDatasets(ctx context.Context, req *sandgatev1.ListDatasetsRequest) (*sandgatev1.ListDatasetsResponse, error) {
	if err := s.d.Authorize(caller(ctx), policies.ActReadCatalogue, policies.Resource{}); err != nil {
		return nil, err
	}
	var all []*sandgatev1.Dataset
	s.d.log.View(func() {
		b := s.d.state.Book()
		for _, id := range b.Datasets() {
			e, _ := b.Dataset(id)
			snap, _ := s.d.state.Snapshot(id)
			all = append(all, described(datasetOf(e, snap.Snapshot), b, e, s.d.opt.Now()))
		}
	})
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &sandgatev1.ListDatasetsResponse{Datasets: page, NextPageToken: next}, nil
}

// pageOf cuts a page. The token is an opaque position; it authorises nothing.
func pageOf[T any](all []T, size int32, token string) ([]T, string, error) {
	switch {
	case size < 0:
		return nil, "", invalid("PAGE_SIZE", "page_size 不能为负", "page_size must not be negative")
	case size == 0:
		size = 50
	case size > 200:
		size = 200
	}
	start := 0
	if token != "" {
		raw, err := base64.RawURLEncoding.DecodeString(token)
		n, aerr := strconv.Atoi(string(raw))
		if err != nil || aerr != nil || n < 0 {
			return nil, "", invalid("PAGE_TOKEN", "page_token 无效", "page_token is not one of ours")
		}
		start = min(n, len(all))
	}
	end := min(start+int(size), len(all))
	next := ""
	if end < len(all) {
		next = base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(end)))
	}
	return all[start:end], next, nil
}

func datasetOf(e policies.Entry, snapshot string) *sandgatev1.Dataset {
	d := e.Dataset
	out := &sandgatev1.Dataset{
		Name: "datasets/" + d.ID, TitleZh: d.Title.ZH, TitleEn: d.Title.EN, Department: e.Department,
		Level: int32(e.Level()), Snapshot: snapshot, Mode: "public",
	}
	if e.Rule != nil && !d.Public {
		out.Mode, out.MaxRows = e.Rule.Mode, e.Rule.MaxRows
	}
	stored, err := e.Stored()
	if err != nil {
		return out
	}
	for _, c := range stored {
		col := &sandgatev1.DatasetColumn{
			Name: c.Column.Name, TitleZh: c.Column.Title.ZH, TitleEn: c.Column.Title.EN, Type: string(c.Type.Kind),
			Level: int32(e.Levels[c.Column.Name]), Mask: c.Mask.Op, Codes: int32(len(c.Column.Codes)),
		}
		if e.Rule != nil {
			for _, u := range e.Rule.Uses[c.Column.Name] {
				col.Uses = append(col.Uses, string(u))
			}
			for _, k := range e.Rule.PrivateKeys {
				col.PrivateKey = col.PrivateKey || k == c.Column.Name
			}
		}
		out.Columns = append(out.Columns, col)
	}
	return out
}

func budgetsOf(lines []BudgetLine) []*sandgatev1.Budget {
	out := make([]*sandgatev1.Budget, len(lines))
	for i, l := range lines {
		out[i] = &sandgatev1.Budget{Dataset: l.Dataset, Scope: string(l.Scope.Kind), LimitNanoRho: int64(l.Limit), SpentNanoRho: int64(l.Spent), Year: int32(l.Scope.Year), QueryNanoRho: int64(l.Query)}
		if l.Query > 0 && l.Scope.Kind != budget.ScopeQuery {
			left := int64((l.Limit - l.Spent) / l.Query)
			out[i].QueriesLeft = &left
		}
	}
	return out
}

func (d *Domain) jobOf(j state.Job) *sandgatev1.Job {
	out := &sandgatev1.Job{
		Name: "jobs/" + j.Request.Job, Operator: j.Operator, Licence: j.Request.Licence, Purpose: j.Request.Purpose, Product: j.Request.Product,
		Reasons: reasonsOf(j.Reasons), RepeatOf: j.RepeatOf, CreateTime: timestamppb.New(time.UnixMilli(j.At)), Seq: j.Seq, ErrorCode: j.FailCode,
	}
	if j.FailRule != "" {
		out.Reasons = reasonsOf([]policies.Reason{stopped(j)})
	}
	if j.Reserved != nil {
		out.PriceNanoRho = int64(j.Reserved.Price)
	}
	out.State = map[state.Phase]sandgatev1.Job_State{
		state.PhaseRefused: sandgatev1.Job_STATE_REFUSED, state.PhaseReserved: sandgatev1.Job_STATE_RUNNING,
		state.PhaseRepeated: sandgatev1.Job_STATE_SUCCEEDED, state.PhaseReleased: sandgatev1.Job_STATE_SUCCEEDED,
		state.PhaseFailed: sandgatev1.Job_STATE_FAILED,
	}[j.Phase]
	if j.Phase == state.PhaseReserved {
		if place, ok := d.queued(j.Request.Job); ok {
			out.State, out.QueuePosition = sandgatev1.Job_STATE_QUEUED, int32(place)
		}
	}
	if waits, _ := d.waitsForWitnesses(j); waits {
		out.State = sandgatev1.Job_STATE_WAITING_FOR_WITNESSES
	}
	return out
}

// releaseOf is the only place where results become bytes for the wire, and it
// reads a release.Release, or what a worker that saw releases alone made of them.
func releaseOf(a *Answer) *sandgatev1.Release {
	out := &sandgatev1.Release{Derived: a.Derived != nil, Synthetic: markOf(a.Mark)}
	for _, s := range a.Sources {
		out.Sources = append(out.Sources, &sandgatev1.ReleaseSource{Name: "jobs/" + s.Job + "/releases/1", Digest: s.Answer.Digest, Receipt: receiptOf(s.Answer.Receipt)})
	}
	if a.Release != nil {
		out.Name, out.Mode, out.PriceNanoRho = "jobs/"+a.Job+"/releases/1", string(a.Release.Mode()), int64(a.Price)
		if out.Digest, out.RepeatOf = a.Digest, a.RepeatOf; a.Mark == nil {
			out.Receipt = receiptOf(a.Receipt)
		}
	}
	if a.Derived != nil {
		out.Columns = derivedColumns(a.Derived.Columns)
		for _, row := range a.Derived.Rows {
			r := &sandgatev1.ReleaseRow{}
			for _, v := range row {
				if v == nil {
					r.Cells = append(r.Cells, &sandgatev1.ReleaseCell{Null: true})
				} else {
					r.Cells = append(r.Cells, &sandgatev1.ReleaseCell{Value: *v})
				}
			}
			out.Rows = append(out.Rows, r)
		}
		return out
	}
	for _, c := range a.Release.Columns() {
		kind := sandgatev1.ReleaseColumn_KIND_ESTIMATE
		if c.Kind == release.KindKey {
			kind = sandgatev1.ReleaseColumn_KIND_KEY
		}
		out.Columns = append(out.Columns, &sandgatev1.ReleaseColumn{Name: c.Name, Key: c.Kind == release.KindKey, Type: string(c.Type.Kind), Scale: int32(c.Type.Scale), Kind: kind})
	}
	for _, row := range a.Release.Rows() {
		r := &sandgatev1.ReleaseRow{}
		for _, c := range row {
			if c.Suppressed == release.Differencing && a.Collides != "" {
				c.Suppressed += ":" + a.Collides
			}
			r.Cells = append(r.Cells, &sandgatev1.ReleaseCell{Value: c.Value, Null: c.Null, Lower: c.Lo, Upper: c.Hi, Withheld: c.Suppressed})
		}
		out.Rows = append(out.Rows, r)
	}
	return out
}

func derivedColumns(columns []engine.PostColumn) (out []*sandgatev1.ReleaseColumn) {
	for _, c := range columns {
		out = append(out, &sandgatev1.ReleaseColumn{Name: c.Name, Type: c.Type, Kind: sandgatev1.ReleaseColumn_KIND_DERIVED})
	}
	return out
}

func boundaryOf(b *Boundary) *sandgatev1.Boundary {
	if b == nil {
		return nil
	}
	out := &sandgatev1.Boundary{CoreSql: b.CoreSQL, CoreStart: int32(b.From), CoreEnd: int32(b.To), PostSql: b.PostSQL, ReleasedColumns: b.Released, Columns: derivedColumns(b.Columns)}
	if b.CoreSQL == "" {
		out.CoreEnd = 0
	}
	for _, job := range b.Releases {
		out.Sources = append(out.Sources, "jobs/"+job+"/releases/1")
	}
	return out
}

func receiptOf(r ledger.Receipt) *sandgatev1.Receipt {
	text, err := json.Marshal(r)
	if err != nil {
		return nil
	}
	return &sandgatev1.Receipt{Seq: r.Seq, LeafHash: r.LeafHash[:], Json: text}
}

// operations serves google.longrunning.Operations; an operation is named after
// its job and says what the ledger says.
type operations struct {
	longrunningpb.UnimplementedOperationsServer
	d *Domain
}

func done(name string, meta, resp proto.Message) (*longrunningpb.Operation, error) {
	op := &longrunningpb.Operation{Name: name, Done: true}
	var err error
	if meta != nil {
		if op.Metadata, err = anypb.New(meta); err != nil {
			return nil, err
		}
	}
	body, err := anypb.New(resp)
	if err != nil {
		return nil, err
	}
	op.Result = &longrunningpb.Operation_Response{Response: body}
	return op, nil
}

func operationOf(ctx context.Context, d *Domain, job string) (*longrunningpb.Operation, error) {
	if model, ok := strings.CutPrefix(job, "models/"); ok {
		return modelOperation(ctx, d, model)
	}
	if isRehearsal(job) {
		return d.rehearsalOperation(ctx, job)
	}
	party := caller(ctx)
	j, err := d.Job(party, job)
	if err != nil {
		return nil, err
	}
	meta, name := d.jobOf(j), "operations/"+job
	if j.Phase == state.PhaseReserved && d.isRunning(job) {
		body, err := anypb.New(meta)
		if err != nil {
			return nil, err
		}
		return &longrunningpb.Operation{Name: name, Metadata: body}, nil
	}
	var a *Answer
	switch waits, until := d.waitsForWitnesses(j); {
	case waits && d.log.Disputed() != nil:
		err = disputed()
	case waits && time.Now().Before(until):
		body, err := anypb.New(meta)
		if err != nil {
			return nil, err
		}
		return &longrunningpb.Operation{Name: name, Metadata: body}, nil
	case waits:
		err = awaited() // the answer stays to be had; nobody is kept for longer
	default:
		a, err = d.Answer(ctx, party, job)
	}
	if err != nil {
		body, aerr := anypb.New(meta)
		if aerr != nil {
			return nil, aerr
		}
		st, _ := status.FromError(statusOf(err))
		return &longrunningpb.Operation{Name: name, Metadata: body, Done: true, Result: &longrunningpb.Operation_Error{Error: st.Proto()}}, nil
	}
	return done(name, meta, releaseOf(a))
}

func (o *operations) GetOperation(ctx context.Context, req *longrunningpb.GetOperationRequest) (*longrunningpb.Operation, error) {
	return operationOf(ctx, o.d, strings.TrimPrefix(req.GetName(), "operations/"))
}

// maxWait bounds one WaitOperation call; the client asks again.
const maxWait = 30 * time.Second

func (o *operations) WaitOperation(ctx context.Context, req *longrunningpb.WaitOperationRequest) (*longrunningpb.Operation, error) {
	job := strings.TrimPrefix(req.GetName(), "operations/")
	model, ofModel := strings.CutPrefix(job, "models/")
	var err error
	switch {
	case ofModel:
		_, err = o.d.Model(caller(ctx), model)
	case isRehearsal(job):
		_, err = o.d.rehearsalJob(caller(ctx), job)
	default:
		_, err = o.d.Job(caller(ctx), job)
	}
	if err != nil {
		return nil, err
	}
	limit := maxWait
	if t := req.GetTimeout(); t != nil && t.AsDuration() < limit {
		limit = t.AsDuration()
	}
	wctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if isRehearsal(job) {
		if err := o.d.waitRehearsal(wctx, caller(ctx), job); err != nil {
			return nil, err
		}
		return o.d.rehearsalOperation(ctx, job)
	}
	if err := o.d.Wait(wctx, job); err != nil && ctx.Err() != nil {
		return nil, err
	}
	if ofModel {
		return modelOperation(ctx, o.d, model)
	}
	// The caller is told soon that the answer waits for witnesses, and asks again.
	wctx, told := context.WithTimeout(wctx, witnessLook)
	defer told()
	o.d.awaitWitnesses(wctx, caller(ctx), job)
	return operationOf(ctx, o.d, job)
}

func (o *operations) ListOperations(ctx context.Context, req *longrunningpb.ListOperationsRequest) (*longrunningpb.ListOperationsResponse, error) {
	all, err := o.d.Jobs(caller(ctx))
	if err != nil {
		return nil, err
	}
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	out := &longrunningpb.ListOperationsResponse{NextPageToken: next}
	for _, j := range page {
		op, err := operationOf(ctx, o.d, j.Request.Job)
		if err != nil {
			return nil, err
		}
		out.Operations = append(out.Operations, op)
	}
	return out, nil
}

// CancelOperation ends a queued or running job at once; see Domain.Cancel. The
// operation is then done with the error CANCELLED, which says that the price
// stays debited.
func (o *operations) CancelOperation(ctx context.Context, req *longrunningpb.CancelOperationRequest) (*emptypb.Empty, error) {
	job := strings.TrimPrefix(req.GetName(), "operations/")
	if model, ok := strings.CutPrefix(job, "models/"); ok {
		return &emptypb.Empty{}, o.d.CancelModel(ctx, caller(ctx), model)
	}
	if isRehearsal(job) {
		return &emptypb.Empty{}, o.d.CancelRehearsal(caller(ctx), job)
	}
	if err := o.d.Cancel(ctx, caller(ctx), job); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// DeleteOperation is refused: the ledger forgets nothing.
func (o *operations) DeleteOperation(context.Context, *longrunningpb.DeleteOperationRequest) (*emptypb.Empty, error) {
	return nil, invalid("NOT_DELETABLE", "账本记录不可删除", "the ledger forgets nothing")
}

// steps tells in words what the protected plan does.
func steps(p *protect.Plan) (zh, en []string) {
	add := func(z, e string) { zh, en = append(zh, z), append(en, e) }
	switch {
	case p.OneRow:
		add("每个隐私单元一行（入库时已验证）", "one row per privacy unit (verified at ingest)")
	default:
		n := strconv.FormatInt(p.MaxRows, 10)
		add("每个隐私单元至多保留 "+n+" 行", "at most "+n+" rows of each privacy unit are kept")
	}
	for i, id := range p.Core.Datasets() {
		if p.Consenting(i) {
			add("数据集 "+id+"：只读取预留时同意有效的主体的行；每次提交都是新作业，不重复已发布的结果", "data set "+id+": only rows of subjects whose consent is in force when the job is reserved; every submission is a job of its own, none repeats a release")
		}
	}
	for _, k := range p.Keys {
		if k.Codes != nil {
			n := strconv.Itoa(len(k.Codes))
			add("分组列 "+k.Col.Name+"：公开代码表，"+n+" 个取值全部作答（空组也答）", "key "+k.Col.Name+": public code list, all "+n+" values are answered, empty ones too")
		} else {
			add("分组列 "+k.Col.Name+"：取值不公开，仅发布达到门槛的取值", "key "+k.Col.Name+": private values, released only past the threshold")
		}
	}
	if p.Selection != nil {
		k, t := strconv.FormatInt(p.Selection.K, 10), strconv.FormatInt(p.Selection.Tau, 10)
		add("门槛：至少 "+k+" 个单元，且加噪后超出 τ="+t, "threshold: at least "+k+" units, and past τ="+t+" after noise")
	}
	if p.Mode == protect.ModeExact {
		k, r := strconv.FormatInt(p.Exact.K, 10), strconv.FormatInt(p.Exact.Round, 10)
		add("精确方式：每格及其补集至少 "+k+" 个单元，计数取整到 "+r, "exact mode: at least "+k+" units per cell and complement, counts rounded to "+r)
		add("与历次精确发布（全部机构）逐一核对：相减后不足 "+k+" 个单元的值不发布", "held against all earlier exact releases of all operators: a value that subtraction would bring below "+k+" units is withheld")
		return zh, en
	}
	for i, m := range p.Measures {
		what := string(m.Kind)
		if m.Col != nil {
			what += "(" + m.Col.Name + ")"
		}
		line := "m" + strconv.Itoa(i) + " " + what + ": Δ²=" + m.Sens2.String() + ", σ²=" + m.Sigma2.String() + ", ρ=" + m.Rho.String()
		add("离散高斯噪声 "+line, "discrete Gaussian noise "+line)
	}
	return zh, en
}
