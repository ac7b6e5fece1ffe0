package gateway

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// ErrorDomain stands in the ErrorInfo of every error.
const ErrorDomain = "sandgate"

// Refusal is a request that the rules refuse. Its reasons hold no data.
type Refusal struct {
	Job     string // as ledgered; empty when nothing was recorded
	Reasons []policies.Reason
}

func (r *Refusal) Error() string {
	if len(r.Reasons) == 0 {
		return "refused"
	}
	return r.Reasons[0].Error()
}

func refusal(r policies.Reason) *Refusal { return &Refusal{Reasons: []policies.Reason{r}} }

// invalid is a request that is malformed, not refused by a rule.
func invalid(code, zh, en string) *Refusal {
	return refusal(policies.Reason{Code: code, Rule: "request", SetBy: "sandgate", ZH: zh, EN: en})
}

// statusCodes maps reason codes to gRPC codes; the closed language's own codes
// (none of these) are INVALID_ARGUMENT.
var statusCodes = map[string]codes.Code{
	"PARTY_UNKNOWN": codes.PermissionDenied, "PERMISSION_DENIED": codes.PermissionDenied,
	"OPERATOR_UNKNOWN": codes.PermissionDenied, "RECIPIENT_ABROAD": codes.PermissionDenied, "PARTY_WITHDRAWN": codes.PermissionDenied,
	"LICENCE_UNKNOWN": codes.PermissionDenied, "LICENCE_REVOKED": codes.PermissionDenied,
	"LICENCE_EXPIRED": codes.PermissionDenied, "LICENCE_NOT_YET_VALID": codes.PermissionDenied,
	"PURPOSE_NOT_LICENSED": codes.PermissionDenied, "PURPOSE_NOT_ALLOWED": codes.PermissionDenied,
	"DATASET_NOT_LICENSED": codes.PermissionDenied, "COLUMN_NOT_LICENSED": codes.PermissionDenied,
	"GATEWAY_SUSPENDED": codes.PermissionDenied, "OPERATOR_SUSPENDED": codes.PermissionDenied, "LICENCE_SUSPENDED": codes.PermissionDenied, "DATASET_SUSPENDED": codes.PermissionDenied, "PRODUCT_SUSPENDED": codes.PermissionDenied,
	"JOB_KIND_NOT_LICENSED": codes.PermissionDenied, "PROVIDER_CONSENT_MISSING": codes.PermissionDenied, "CONSENT_REQUIRED": codes.PermissionDenied, "CONSENT_MISSING": codes.PermissionDenied, "CONSENT_ENDED": codes.FailedPrecondition, "CONSENT_EXACT": codes.FailedPrecondition, "QUOTA_EXHAUSTED": codes.ResourceExhausted,
	"USE_NOT_ALLOWED": codes.PermissionDenied, "MASK_RULE": codes.PermissionDenied, "BUDGET_EXHAUSTED": codes.ResourceExhausted,
	"NO_SNAPSHOT": codes.FailedPrecondition, "SNAPSHOT_STALE": codes.FailedPrecondition,
	"DATASET_NOT_READY": codes.FailedPrecondition, "POLICY_CHANGED": codes.Aborted,
	"POLICY_INVALID": codes.FailedPrecondition, "POLICY_REFUSED": codes.FailedPrecondition,
	"NOT_FOUND": codes.NotFound, "POST_LIMIT": codes.ResourceExhausted, "REQUEST_ID_REUSED": codes.AlreadyExists,
	"EXECUTION_FAILED": codes.Internal, "LICENCE_ENDED": codes.PermissionDenied,
	"OUTCOME_UNKNOWN": codes.Aborted, "BUSY": codes.ResourceExhausted, "WORKERS_DOWN": codes.Unavailable, "WORKER_LOST": codes.Unavailable, "NOT_CANCELLABLE": codes.FailedPrecondition, "LEDGER_STOPPED": codes.Unavailable,
	"UNAUTHENTICATED": codes.Unauthenticated, "DEADLINE_EXCEEDED": codes.DeadlineExceeded, "CANCELLED": codes.Canceled,
	"CONSENT_EPOCH": codes.FailedPrecondition, "CONSENT_KEY_MOVED": codes.FailedPrecondition, "CA_NOT_RETIRED": codes.FailedPrecondition, "CA_IN_USE": codes.FailedPrecondition, "NOTHING_TO_RETIRE": codes.FailedPrecondition,
	"METHOD_UNKNOWN": codes.Unimplemented, "INTERNAL": codes.Internal, "INGEST_FAILED": codes.Internal, "RELEASE_DAMAGED": codes.DataLoss, "SNAPSHOT_DAMAGED": codes.DataLoss, "INGEST_REFUSED": codes.InvalidArgument,
	"SNAPSHOT_TOO_LARGE": codes.FailedPrecondition, "INGEST_TOO_LARGE": codes.ResourceExhausted, "INGEST_MEMORY": codes.ResourceExhausted,
	"ASSESSMENT_FAILED": codes.ResourceExhausted, "POLICY_TOO_LARGE": codes.InvalidArgument,
	"SNAPSHOT_LEAVING": codes.FailedPrecondition, "SNAPSHOT_DESTROYED": codes.FailedPrecondition, "DESTRUCTION_UNFINISHED": codes.Unavailable,
	"SIGNATURE_MISSING": codes.PermissionDenied, "SIGNATURE_INVALID": codes.PermissionDenied, "SIGNED_REQUEST_EXPIRED": codes.FailedPrecondition,
	"SIGNED_REQUEST_EARLY": codes.FailedPrecondition, "SIGNED_REQUEST_MISMATCH": codes.PermissionDenied, "SIGNED_REQUEST_REUSED": codes.AlreadyExists,
	"QUESTIONS_EXHAUSTED": codes.ResourceExhausted, "SUBJECTS_EXHAUSTED": codes.ResourceExhausted, "PREDICATE_INVALID": codes.FailedPrecondition, "ANSWER_UNREADABLE": codes.DataLoss,
	"KEYS_AWAY": codes.Unavailable, "BUDGET_UNKNOWN": codes.ResourceExhausted, "EXACT_STORE_DESTROYED": codes.FailedPrecondition,
	// model:
	"MODEL_UNKNOWN": codes.NotFound, "MODEL_NOT_READY": codes.FailedPrecondition, "MODEL_NOT_RELEASED": codes.FailedPrecondition, "MODEL_DATA_DESTROYED": codes.FailedPrecondition,
	"MODEL_INVALID": codes.FailedPrecondition, "MODEL_CONSENT": codes.FailedPrecondition, "MODEL_STAYS_INSIDE": codes.FailedPrecondition, "MODEL_DAMAGED": codes.DataLoss, "MODULE_DAMAGED": codes.DataLoss, "MODULE_MISSING": codes.FailedPrecondition, "MODULE_MISMATCH": codes.InvalidArgument, "MODULE_COLUMNS": codes.InvalidArgument, "MODULE_NOT_NEEDED": codes.FailedPrecondition, "MODEL_AGGREGATES_ONLY": codes.FailedPrecondition, "SCORES_EXHAUSTED": codes.ResourceExhausted,
	// twin:
	"TWIN_NONE": codes.NotFound, "TWIN_DAMAGED": codes.DataLoss, "TWIN_STALE": codes.FailedPrecondition, "TWIN_NOT_ALLOWED": codes.PermissionDenied, "TWIN_RHO": codes.PermissionDenied, "TWIN_LEVEL": codes.PermissionDenied,
	"RELATIONS_NONE": codes.NotFound, "RELATIONS_DAMAGED": codes.DataLoss, "RELATIONS_STALE": codes.FailedPrecondition, "TWIN_RELATE": codes.PermissionDenied, "TWIN_RELATED": codes.FailedPrecondition,
	"TWIN_UNDER_WAY": codes.FailedPrecondition, "TWIN_TOO_FEW_UNITS": codes.FailedPrecondition,
	// rehearsal:
	"REHEARSAL_NO_RELEASE": codes.FailedPrecondition, "SUBJECT_NOT_SYNTHETIC": codes.InvalidArgument, "TWIN_SIZE": codes.InvalidArgument,
	// witness:
	"NO_WITNESSES": codes.FailedPrecondition, "WITNESSES_AWAITED": codes.Unavailable, "LEDGER_DISPUTED": codes.Unavailable, "NO_RELEASE": codes.FailedPrecondition, "EVIDENCE_OF_REPEAT": codes.PermissionDenied,
}

// statusOf renders any error for the wire. Only a Refusal speaks for itself;
// what is not one becomes a constant text, because an unexpected error may carry
// anything.
func statusOf(err error) error {
	if err == nil {
		return nil
	}
	var r *Refusal
	var reason *policies.Reason
	switch {
	case errors.As(err, &r):
	case errors.As(err, &reason):
		r = refusal(*reason)
	case errors.Is(err, ledger.ErrOutcomeUnknown):
		r = invalid("OUTCOME_UNKNOWN", "结果未知：请用同一请求号重试", "the outcome is unknown: retry with the same request id")
	case errors.Is(err, context.DeadlineExceeded):
		r = invalid("DEADLINE_EXCEEDED", "超过时限", "deadline exceeded")
	case errors.Is(err, context.Canceled):
		r = invalid("CANCELLED", "已取消", "cancelled")
	case errors.Is(err, ledger.ErrDisputed):
		return statusOf(disputed())
	case errors.Is(err, ledger.ErrStopped), errors.Is(err, ledger.ErrClosed):
		r = invalid("LEDGER_STOPPED", "账本已停止，网关不再受理；请联系管理员", "the ledger has stopped, so nothing is served; ask the administrator")
	case errors.Is(err, sandbox.ErrLost):
		r = workerLost
	default:
		r = invalid("INTERNAL", "内部错误", "internal error")
	}
	return r.status()
}

// workerLost is a worker that somebody or something ended at its start.
var workerLost = refusal(policies.Reason{Code: "WORKER_LOST", Rule: "sandbox", SetBy: "sandgate",
	ZH: "工作进程在启动时被终止，本次请求未执行，不扣减预算", EN: "a worker was ended at its start; the request was not carried out and nothing is charged for it",
	HintZH: "请用同一 request_id 重试；若反复出现，请网关管理员查看内存与系统日志，并执行 sandgate doctor", HintEN: "retry with the same request_id; if it happens again, the gateway's administrator looks at memory and the system's log, and runs sandgate doctor"})

// transport adds details to a status of the gRPC library, whose text speaks of
// messages and streams only.
func transport(st *status.Status) error {
	out, err := st.WithDetails(
		&errdetails.ErrorInfo{Reason: "TRANSPORT", Domain: ErrorDomain, Metadata: map[string]string{"rule": "request"}},
		&errdetails.LocalizedMessage{Locale: "zh-CN", Message: "通信错误（" + st.Code().String() + "）"},
	)
	if err != nil {
		return st.Err()
	}
	return out.Err()
}

func (r *Refusal) status() error {
	if len(r.Reasons) == 0 {
		return status.Error(codes.Internal, "internal error")
	}
	first := r.Reasons[0]
	code, ok := statusCodes[first.Code]
	if !ok {
		code = codes.InvalidArgument
	}
	meta := map[string]string{"rule": first.Rule, "set_by": first.SetBy}
	if first.Line > 0 {
		meta["line"], meta["column"] = fmt.Sprint(first.Line), fmt.Sprint(first.Column)
	}
	detail := &sandgatev1.RefusalDetail{Reasons: reasonsOf(r.Reasons)}
	if r.Job != "" {
		detail.Job = "jobs/" + r.Job
		meta["job"] = detail.Job
	}
	st, err := status.New(code, first.Text("en")).WithDetails(
		&errdetails.ErrorInfo{Reason: first.Code, Domain: ErrorDomain, Metadata: meta},
		&errdetails.LocalizedMessage{Locale: "zh-CN", Message: first.Text("zh")},
		detail,
	)
	if err != nil {
		return status.Error(code, first.Text("en"))
	}
	return st.Err()
}

func reasonsOf(in []policies.Reason) []*sandgatev1.Reason {
	out := make([]*sandgatev1.Reason, len(in))
	for i, r := range in {
		out[i] = &sandgatev1.Reason{
			Code: r.Code, Rule: r.Rule, SetBy: r.SetBy, MessageZh: r.ZH, MessageEn: r.EN,
			HintZh: r.HintZH, HintEn: r.HintEN, Line: int32(r.Line), Column: int32(r.Column),
		}
	}
	return out
}
