package gateway

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/sandgate/sandgate/compute/engine"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies"
)

// consentKey goes to the ingest of data sets that need consents and to no other.
func (d *Domain) consentKey(e policies.Entry) (key []byte, epoch int) {
	if e.Dataset.Consent != policies.ConsentRequired {
		return nil, 0
	}
	return d.subjectKey()
}

// subjects lists, for each data set of a reserved job's plan that needs consents, who
// consented when the job was let in. Nobody is an empty list and no error: how many
// there are is told by the answer alone, with its noise.
func (d *Domain) subjects(p *prepared) ([]engine.Subjects, error) {
	if p.plan.Consents == nil {
		return nil, nil
	}
	var uses []policies.ConsentUse
	d.log.View(func() { uses = d.state.Consents(p.request.Job) })
	out := make([]engine.Subjects, len(p.plan.Consents))
	for i, id := range p.plan.Core.Datasets() {
		if !p.plan.Consenting(i) {
			continue
		}
		if len(uses) == 0 || uses[0].Dataset != id {
			return nil, errors.New("the job has ended, or was let in without consents")
		}
		out[i], uses = subjectsOf(uses[0]), uses[1:]
	}
	return out, nil
}

func subjectsOf(u policies.ConsentUse) engine.Subjects {
	out := engine.Subjects{}
	for _, k := range u.Subjects() {
		out = append(out, k)
	}
	return out
}

// manySubjects commits to a list of subjects, of which the error names one by its
// place alone.
func (d *Domain) manySubjects(kind policies.UnitKind, req *sandgatev1.ComputeSubjectRequest) (*sandgatev1.ComputeSubjectResponse, error) {
	if req.GetId() != "" || len(req.GetIds()) > policies.MaxSubjects {
		return nil, invalid("SUBJECT_ID", fmt.Sprintf("一次给出一个标识，或至多 %d 个", policies.MaxSubjects), fmt.Sprintf("name one identifier, or at most %d at once", policies.MaxSubjects))
	}
	out := &sandgatev1.ComputeSubjectResponse{}
	key, _ := d.subjectKey()
	for i, id := range req.GetIds() {
		subject, ok := subjectBy(key, kind, id)
		if !ok {
			return nil, invalid("SUBJECT_ID", fmt.Sprintf("第 %d 个标识的格式不对", i+1), fmt.Sprintf("identifier %d is malformed", i+1))
		}
		raw, err := hex.DecodeString(subject)
		if err != nil {
			return nil, fmt.Errorf("failed to compute subject: %w", err)
		}
		out.Subjects = append(out.Subjects, raw[:engine.SubjectBytes])
	}
	return out, nil
}
