package main

import (
	"strings"
	"testing"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies"
)

// Every state that a table shows has a name in Chinese; its code stays for programs
// and for whoever reads English.
func TestR05_StatesAreNamed(t *testing.T) {
	var codes []string
	for _, names := range []map[int32]string{sandgatev1.Job_State_name, sandgatev1.Verification_State_name, sandgatev1.Round_State_name} {
		for n, name := range names {
			if n != 0 {
				codes = append(codes, strings.TrimPrefix(name, "STATE_"))
			}
		}
	}
	for _, s := range []policies.ApplicationState{policies.AppFiled, policies.AppReturned, policies.AppAccepted, policies.AppReviewing, policies.AppApproved,
		policies.AppRefused, policies.AppGranted, policies.AppWithdrawn} {
		codes = append(codes, string(s))
	}
	for _, s := range []policies.CaseState{policies.CaseOpen, policies.CaseRuled, policies.CaseAnswered, policies.CaseDisputed, policies.CaseSettled} {
		codes = append(codes, string(s))
	}
	for _, s := range []policies.DutyPhase{policies.PhaseOpen, policies.PhaseRemind, policies.PhaseOverdue, policies.PhaseEscalated, policies.PhaseUndated} {
		codes = append(codes, string(s))
	}
	for _, s := range []policies.OrderStage{policies.StageNotice, policies.StageRectify, policies.StageSuspend, policies.StageResume, policies.StageEnd} {
		codes = append(codes, string(s))
	}
	for _, code := range codes {
		if zh := (&app{lang: "zh", format: "table"}).state(code); zh == code {
			t.Errorf("%s has no name in Chinese", code)
		}
		for _, a := range []*app{{lang: "en", format: "table"}, {lang: "zh", format: "json"}, {lang: "zh", format: "csv"}} {
			if got := a.state(code); got != code {
				t.Errorf("%s %s: %s is shown as %s", a.lang, a.format, code, got)
			}
		}
	}
}
