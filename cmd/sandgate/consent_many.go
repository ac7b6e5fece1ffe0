package main

import (
	"context"
	"encoding/csv"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies"
)

// consentDocument is a Consent as it is signed.
type consentDocument struct {
	Kind             policies.Kind `yaml:"kind"`
	policies.Consent `yaml:",inline"`
}

// manySubjects is a file of identifiers.
type manySubjects struct{ path, column string }

// read lists the identifiers. Its errors name lines, never what stands in them.
func (m manySubjects) read() ([]string, error) {
	f, err := os.Open(m.path)
	if err != nil {
		return nil, texts.Errorf("failed to open subjects: %w", err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	head, err := r.Read()
	if err != nil {
		return nil, texts.Errorf("failed to read subjects: the file has no header")
	}
	head[0] = strings.TrimPrefix(head[0], "\ufeff")
	at := slices.IndexFunc(head, func(name string) bool { return strings.TrimSpace(name) == m.column })
	if m.column == "" && len(head) == 1 {
		at = 0
	}
	if at < 0 {
		return nil, usageError{texts.Errorf("name the column of the identifiers with --column; the header has no such column, or several")}
	}
	var out []string
	for {
		fields, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			line, _ := r.FieldPos(0)
			return nil, texts.Errorf("failed to read subjects: line %d does not read as CSV", line)
		}
		out = append(out, strings.TrimSpace(fields[at]))
	}
	if len(out) == 0 {
		return nil, texts.Errorf("failed to read subjects: the file names nobody")
	}
	return out, nil
}

// commit has the gateway compute the commitments, each once.
func (a *app) commit(ctx context.Context, dataset string, ids []string) ([]policies.SubjectKey, error) {
	cl, err := a.dial()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	seen := map[policies.SubjectKey]bool{}
	var out []policies.SubjectKey
	from := 0
	for some := range slices.Chunk(ids, policies.MaxSubjects) {
		resp, err := cl.Licence.ComputeSubject(ctx, &sandgatev1.ComputeSubjectRequest{Dataset: dataset, Ids: some})
		if err != nil {
			return nil, texts.Errorf("failed to commit to the subjects from line %d on: %w", from+2, err)
		}
		if len(resp.GetSubjects()) != len(some) {
			return nil, texts.Errorf("the gateway committed to another number of subjects")
		}
		for _, raw := range resp.GetSubjects() {
			if len(raw) != len(policies.SubjectKey{}) {
				return nil, texts.Errorf("the gateway answered with what is no commitment")
			}
			if key := policies.SubjectKey(raw); !seen[key] {
				seen[key] = true
				out = append(out, key)
			}
		}
		from += len(some)
	}
	return out, nil
}

// recordMany signs and applies one document for every MaxSubjects subjects. Each
// stands by itself: one that fails leaves those before it recorded.
func (a *app) recordMany(ctx context.Context, v policies.Consent, m manySubjects) error {
	ids, err := m.read()
	if err != nil {
		return err
	}
	keys, err := a.commit(ctx, v.Datasets[0], ids)
	if err != nil {
		return err
	}
	base := v.ID
	var body [][]string
	for some := range slices.Chunk(keys, policies.MaxSubjects) {
		if v.ID = base; len(keys) > policies.MaxSubjects {
			v.ID = base + "-" + strconv.Itoa(len(body)+1)
		}
		v.Subjects = policies.JoinSubjects(some)
		document, err := yaml.Marshal(consentDocument{policies.KindConsent, v})
		if err != nil {
			return texts.Errorf("failed to write the document: %w", err)
		}
		resp, err := a.signAndApply(ctx, document)
		if err != nil {
			return texts.Errorf("failed to record consent %s (%d documents before it are in force): %w", v.ID, len(body), err)
		}
		body = append(body, []string{v.ID, strconv.Itoa(len(some)), strconv.FormatUint(uint64(resp.GetReceipt().GetSeq()), 10)})
	}
	return a.rows([]string{a.head("编号", "consent"), a.head("人数", "subjects"), a.head("账本", "entry")}, body)
}
