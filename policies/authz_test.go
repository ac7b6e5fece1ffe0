package policies

import (
	"slices"
	"testing"
)

// The door, in full: every party, every action, every kind of resource. What the
// table does not name is denied.
func TestR34_AuthorizeMatrix(t *testing.T) {
	b := town(t, "")
	actions := []Action{ActExplainJob, ActSubmitJob, ActReadJob, ActCancelJob, ActReadBudget, ActReadCatalogue, ActApplyPolicy, ActReadPolicy,
		ActIngestSnapshot, ActReadSnapshot, ActAssessRisk, ActReadLedger, ActCopyLedger, ActReadProduct, ActReadStatement,
		ActReadLicence, ActReadConsent, ActComputeSubject, ActReadDesk, ActLintCatalogue,
		ActDestroySnapshot, ActRotateKey, ActReadWitnesses, ActReadAlerts, ActVerify, ActReadVerification, ActExplainModel, ActTrainModel, ActReadModel, ActUseModel, ActCancelModel, ActPublishTwin, ActReadTwin,
		ActProposeRound, ActReadRound, ActFetchRound, ActCancelRound, ActAttendRound, "DropTables", ""}
	resources := map[string]Resource{
		"none": {}, "of dept": {Department: "dept"}, "of other": {Department: "other"}, "job of op": {Operator: "op"}, "job of rival": {Operator: "rival"},
		"withdrawn of dept": {Department: "dept", Withdrawn: true},
	}
	allowed := func(party string, act Action, resource string) bool {
		switch party {
		case "op", "rival":
			if slices.Contains([]Action{ActReadJob, ActCancelJob, ActReadVerification, ActReadModel, ActUseModel, ActCancelModel, ActReadRound, ActFetchRound, ActCancelRound}, act) {
				return resource != "job of op" && resource != "job of rival" || resource == "job of "+party
			}
			return slices.Contains([]Action{ActExplainJob, ActSubmitJob, ActReadBudget, ActReadCatalogue, ActApplyPolicy, ActReadProduct, ActReadStatement, ActReadLicence, ActReadDesk, ActReadWitnesses, ActVerify, ActExplainModel, ActTrainModel, ActReadTwin, ActProposeRound}, act)
		case "dept", "other":
			if act == ActIngestSnapshot || act == ActReadSnapshot || act == ActComputeSubject || act == ActLintCatalogue || act == ActAssessRisk || act == ActDestroySnapshot || act == ActReadModel || act == ActPublishTwin || act == ActReadTwin {
				return resource == "of "+party || resource == "withdrawn of "+party
			}
			return slices.Contains([]Action{ActApplyPolicy, ActReadCatalogue, ActReadPolicy, ActReadProduct, ActReadStatement, ActReadLicence, ActReadConsent, ActReadDesk, ActReadWitnesses, ActReadRound, ActAttendRound}, act)
		case "bureau":
			if act == ActDestroySnapshot {
				return resource == "withdrawn of dept"
			}
			return slices.Contains([]Action{ActApplyPolicy, ActReadCatalogue, ActReadPolicy, ActReadLedger, ActCopyLedger, ActReadJob, ActCancelJob, ActReadBudget, ActReadProduct, ActReadStatement, ActReadLicence, ActReadConsent, ActReadDesk, ActLintCatalogue, ActRotateKey, ActReadWitnesses, ActReadAlerts, ActReadVerification, ActReadModel, ActReadTwin,
				ActReadRound, ActFetchRound, ActCancelRound, ActAttendRound}, act)
		}
		return false // foreign is abroad (R38), nobody and gateway are not registered
	}
	granted := 0
	for _, party := range []string{"op", "rival", "foreign", "dept", "other", "bureau", "nobody", "gateway", "", "OP"} {
		for _, act := range actions {
			for name, res := range resources {
				x := b.Authorize(party, act, res)
				if (x == nil) != allowed(party, act, name) {
					t.Errorf("%q %s %s: %v", party, act, name, x)
				}
				if x == nil {
					granted++
				} else if x.Code != "PERMISSION_DENIED" && x.Code != "PARTY_UNKNOWN" {
					t.Errorf("%q %s: %s", party, act, x.Code)
				}
			}
		}
	}
	if granted == 0 {
		t.Error("nobody may do anything")
	}
}

// Before any registry the root of trust alone acts, as the regulator; afterwards
// it does so because the registry says so.
func TestR34_AuthorizeWithoutARegistry(t *testing.T) {
	empty := NewBook("bureau", publicOf("bureau"))
	if x := empty.Authorize("bureau", ActApplyPolicy, Resource{}); x != nil {
		t.Error(x)
	}
	for _, act := range []Action{ActSubmitJob, ActIngestSnapshot, ActExplainJob, "DropTables"} {
		if empty.Authorize("bureau", act, Resource{}) == nil {
			t.Errorf("the root may %s", act)
		}
	}
	for _, party := range []string{"op", "dept", ""} {
		if x := empty.Authorize(party, ActApplyPolicy, Resource{}); x == nil || x.Code != "PARTY_UNKNOWN" {
			t.Errorf("%q: %v", party, x)
		}
	}
}
