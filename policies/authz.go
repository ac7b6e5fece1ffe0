package policies

import (
	_ "embed"
	"fmt"

	"github.com/cedar-policy/cedar-go"
)

// Action is what a party asks to do at the gateway's door.
type Action string

const (
	ActExplainJob     Action = "ExplainJob"
	ActSubmitJob      Action = "SubmitJob"
	ActReadJob        Action = "ReadJob"
	ActCancelJob      Action = "CancelJob"
	ActReadBudget     Action = "ReadBudget"
	ActReadCatalogue  Action = "ReadCatalogue"
	ActApplyPolicy    Action = "ApplyPolicy"
	ActReadPolicy     Action = "ReadPolicy"
	ActIngestSnapshot Action = "IngestSnapshot"
	ActReadSnapshot   Action = "ReadSnapshot"
	ActAssessRisk     Action = "AssessRisk"
	ActReadLedger     Action = "ReadLedger"
	ActCopyLedger     Action = "CopyLedger"
	ActReadProduct    Action = "ReadProduct"
	ActReadStatement  Action = "ReadStatement"
	ActReadLicence    Action = "ReadLicence"    // licences and orders
	ActReadConsent    Action = "ReadConsent"    // consents, by commitment
	ActComputeSubject Action = "ComputeSubject" // of a data subject

	// desk: applications, objections, corrections and duties; whose, the service
	// decides.
	ActReadDesk      Action = "ReadDesk"
	ActLintCatalogue Action = "LintCatalogue"

	// keys:
	ActDestroySnapshot Action = "DestroySnapshot"
	ActRotateKey       Action = "RotateKey"

	// witness:
	ActReadWitnesses Action = "ReadWitnesses"

	// auto:
	ActReadAlerts Action = "ReadAlerts"

	// verification:
	ActVerify           Action = "Verify"
	ActReadVerification Action = "ReadVerification"

	// model:
	ActExplainModel Action = "ExplainModel"
	ActTrainModel   Action = "TrainModel"
	ActReadModel    Action = "ReadModel" // and its certificate
	ActUseModel     Action = "UseModel"  // its file, and scores
	ActCancelModel  Action = "CancelModel"

	// twin:
	ActPublishTwin Action = "PublishTwin"
	ActReadTwin    Action = "ReadTwin" // whose, a licence decides

	// hub:
	ActProposeRound Action = "ProposeRound"
	ActReadRound    Action = "ReadRound"  // whose, the service decides for departments
	ActFetchRound   Action = "FetchRound" // its answer
	ActCancelRound  Action = "CancelRound"
	ActAttendRound  Action = "AttendRound" // as a node of one's own party
)

// Resource is what an action is about; empty fields do not apply.
type Resource struct {
	Department string // owner of the data set
	Operator   string // owner of the job
	// Withdrawn says of a data set that it is suspended, or that its department's
	// account is withdrawn.
	Withdrawn bool
}

//go:embed authz.cedar
var authzText []byte

var authz = func() *cedar.PolicySet {
	ps, err := cedar.NewPolicySetFromBytes("authz.cedar", authzText)
	if err != nil {
		panic(fmt.Sprintf("policies: embedded authz.cedar: %v", err))
	}
	return ps
}()

// Authorize decides by Cedar whether a party may take an action; nil permits.
// A party that is not in the registry is denied everything. Before any registry
// is in force the root of trust acts as the regulator, so that it can apply one.
func (b *Book) Authorize(party string, act Action, res Resource) *Reason {
	p, ok := b.parties[party]
	if !ok {
		if party != b.root || b.registered {
			return reasonf("PARTY_UNKNOWN", "registry", b.root, "登记表中没有“%s”", "party %q is not in the registry", party)
		}
		p = Party{ID: b.root, Role: RoleRegulator}
	}
	principal := cedar.NewEntityUID("Party", cedar.String(party))
	target := cedar.NewEntityUID("Resource", "target")
	attrs := cedar.RecordMap{"withdrawn": cedar.Boolean(res.Withdrawn)}
	if res.Department != "" {
		attrs["department"] = cedar.String(res.Department)
	}
	if res.Operator != "" {
		attrs["operator"] = cedar.String(res.Operator)
	}
	entities := cedar.EntityMap{
		principal: {UID: principal, Attributes: cedar.NewRecord(cedar.RecordMap{
			"id": cedar.String(p.ID), "role": cedar.String(p.Role), "abroad": cedar.Boolean(p.Abroad), "withdrawn": cedar.Boolean(p.Withdrawn),
		})},
		target: {UID: target, Attributes: cedar.NewRecord(attrs)},
	}
	decision, diag := cedar.Authorize(authz, entities, cedar.Request{
		Principal: principal, Action: cedar.NewEntityUID("Action", cedar.String(act)), Resource: target,
		Context: cedar.NewRecord(cedar.RecordMap{}),
	})
	// An evaluation error means that a rule could not be judged: deny.
	if decision == cedar.Allow && len(diag.Errors) == 0 {
		return nil
	}
	return reasonf("PERMISSION_DENIED", "authz.cedar", b.root, "“%s”无权执行 %s", "party %q may not %s", party, string(act)).
		hint("此操作属于其他角色：请以有此权限一方的密钥包执行", "this is for another role: use the kit of a party that may")
}
