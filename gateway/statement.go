package gateway

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger/metering"
	"github.com/sandgate/sandgate/policies"
)

type statementService struct {
	sandgatev1.UnimplementedStatementServiceServer
	d *Domain
}

func (s *statementService) GetStatement(ctx context.Context, req *sandgatev1.GetStatementRequest) (*sandgatev1.Statement, error) {
	party := caller(ctx)
	if err := s.d.Authorize(party, policies.ActReadStatement, policies.Resource{}); err != nil {
		return nil, err
	}
	if !req.GetStartTime().IsValid() || !req.GetEndTime().IsValid() || !req.GetStartTime().AsTime().Before(req.GetEndTime().AsTime()) {
		return nil, invalid("PERIOD", "期间须有起止时间，且起早于止", "a period needs a start before its end")
	}
	period := metering.Period{From: req.GetStartTime().AsTime(), To: req.GetEndTime().AsTime()}
	var st metering.Statement
	var err error
	s.d.log.View(func() {
		f := metering.Filter{Operator: req.GetOperator()}
		// Before any registry the root of trust alone comes this far.
		switch who, _ := s.d.state.Book().Party(party); who.Role {
		case policies.RoleOperator:
			if f.Operator != "" && f.Operator != party {
				err = invalid("NOT_FOUND", "没有您可见的这份计量", "there is no such statement that you may see")
				return
			}
			f.Operator = party
		case policies.RoleDepartment:
			f.Department = party
		}
		st = metering.Of(s.d.state, period, f)
	})
	if err != nil {
		return nil, err
	}
	return StatementOf(st), nil
}

// StatementOf is a statement as the API gives it.
func StatementOf(st metering.Statement) *sandgatev1.Statement {
	out := &sandgatev1.Statement{StartTime: timestamppb.New(st.Period.From), EndTime: timestamppb.New(st.Period.To)}
	for _, l := range st.Lines {
		out.Lines = append(out.Lines, &sandgatev1.StatementLine{
			Operator: l.Operator, Licence: l.Licence, Product: l.Product, Purpose: l.Purpose, FeeClass: string(l.Fee), Calls: l.Calls, Repeats: l.Repeats,
			Refused: l.Refused, Failed: l.Failed, Rows: l.Rows, Bytes: l.Bytes, Milliseconds: l.Millis, SpentNanoRho: int64(l.Rho), ChargeFen: l.Fen, Capped: l.Capped,
		})
	}
	for _, c := range st.Contributions {
		out.Contributions = append(out.Contributions, &sandgatev1.Contribution{Department: c.Department, Product: c.Product, Calls: c.Calls, Share: c.Share, ChargeFen: c.Fen})
	}
	for _, f := range st.Feedback {
		x := &sandgatev1.UsageFeedback{Operator: f.Operator, Licence: f.Licence, Quarter: f.Quarter, Report: f.Report}
		if !f.Filed.IsZero() {
			x.FileTime = timestamppb.New(f.Filed)
		}
		out.Feedback = append(out.Feedback, x)
	}
	return out
}
