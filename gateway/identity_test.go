package gateway_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/gateway/home"
)

// Every RPC by every role: what authz.cedar allows works, everything else is
// refused, and what is somebody else's looks as if it were not there.
func TestAttack15_RoleMatrix(t *testing.T) {
	a := shared(t)
	x := people("roles", 300, "")
	a.Add(t, x)
	a.Add(t, people("roles-leaving", 50, ""))
	rel := a.MustRun(t, attack.Op(0), "roles", "SELECT COUNT(*) AS n FROM roles", 0)
	job := strings.TrimSuffix(strings.TrimPrefix(rel.GetName(), "jobs/"), "/releases/1")
	op0, op1, dept, dept2, bureau, ghost := attack.Op(0), attack.Op(1), attack.Department, attack.Other, attack.Regulator, attack.Ghost
	everyone := []string{op0, op1, dept, dept2, bureau, ghost}
	operators, owner := []string{op0, op1}, []string{op0, bureau}
	calls := []struct {
		name    string
		allowed []string
		denied  codes.Code
		call    func(ctx context.Context, c *client.Client, as string) error
	}{
		{"SubmitJob", operators, codes.PermissionDenied, func(ctx context.Context, c *client.Client, as string) error {
			_, err := c.Operator.SubmitJob(ctx, attack.Request(as, "roles", "SELECT COUNT(*) AS n FROM roles", 0))
			return err
		}},
		{"SubmitJob/validate_only", operators, codes.PermissionDenied, func(ctx context.Context, c *client.Client, as string) error {
			req := attack.Request(as, "roles", "SELECT COUNT(*) AS n FROM roles", 0)
			req.ValidateOnly = true
			_, err := c.Operator.SubmitJob(ctx, req)
			return err
		}},
		{"ExplainJob", operators, codes.PermissionDenied, func(ctx context.Context, c *client.Client, as string) error {
			_, err := c.Operator.ExplainJob(ctx, explain(as, "roles", "SELECT COUNT(*) AS n FROM roles"))
			return err
		}},
		{"GetJob", owner, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Operator.GetJob(ctx, &sandgatev1.GetJobRequest{Name: "jobs/" + job})
			return err
		}},
		{"ListJobs", []string{op0, op1, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, as string) error {
			r, err := c.Operator.ListJobs(ctx, &sandgatev1.ListJobsRequest{PageSize: 200})
			for _, j := range r.GetJobs() {
				if j.GetOperator() != as && as != bureau {
					return fmt.Errorf("%s is shown a job of %s", as, j.GetOperator())
				}
			}
			return err
		}},
		{"GetRelease", owner, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Operator.GetRelease(ctx, &sandgatev1.GetReleaseRequest{Name: "jobs/" + job})
			return err
		}},
		{"ListBudgets", owner, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Operator.ListBudgets(ctx, &sandgatev1.ListBudgetsRequest{Licence: attack.LicenceID(op0, "roles")})
			return err
		}},
		{"ListProducts", []string{op0, op1, dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Product.ListProducts(ctx, &sandgatev1.ListProductsRequest{})
			return err
		}},
		{"GetProduct", nil, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Product.GetProduct(ctx, &sandgatev1.GetProductRequest{Name: "products/none"})
			return err
		}},
		{"GetStatement", []string{op0, op1, dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, as string) error {
			st, err := c.Statement.GetStatement(ctx, &sandgatev1.GetStatementRequest{StartTime: timestamppb.New(time.Now().Add(-time.Hour)), EndTime: timestamppb.New(time.Now().Add(time.Hour))})
			for _, l := range st.GetLines() {
				if l.GetOperator() != as && (as == op0 || as == op1) {
					return fmt.Errorf("%s is shown the use of %s", as, l.GetOperator())
				}
			}
			for _, c := range st.GetContributions() {
				if c.GetDepartment() != as && (as == dept || as == dept2) {
					return fmt.Errorf("%s is shown the contribution of %s", as, c.GetDepartment())
				}
			}
			return err
		}},
		{"GetDelivery", owner, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Product.GetDelivery(ctx, &sandgatev1.GetDeliveryRequest{Name: "jobs/" + job})
			return err
		}},
		{"ListDatasets", []string{op0, op1, dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Operator.ListDatasets(ctx, &sandgatev1.ListDatasetsRequest{})
			return err
		}},
		{"ApplyPolicy", []string{dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, as string) error {
			// Who applies a bundle is among its signers; whose policy it is, the
			// owner's signature decides.
			bundle, err := a.Sign(x.Catalogue(), attack.Department, as)
			if err != nil {
				return err
			}
			_, err = c.Policy.ApplyPolicy(ctx, &sandgatev1.ApplyPolicyRequest{Envelope: bundle, ValidateOnly: true})
			return err
		}},
		{"IngestSnapshot", []string{dept}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Ingest(ctx, "roles", "csv", strings.NewReader(x.CSV), nil)
			return err
		}},
		{"ListSnapshots", []string{dept, dept2}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, as string) error {
			r, err := c.Department.ListSnapshots(ctx, &sandgatev1.ListSnapshotsRequest{})
			if as == dept2 && len(r.GetSnapshots()) > 0 {
				return errors.New("another department's snapshots are listed")
			}
			return err
		}},
		{"ListCatalogueEntries", []string{dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Catalogue.ListCatalogueEntries(ctx, &sandgatev1.ListCatalogueEntriesRequest{})
			return err
		}},
		{"LintCatalogue", []string{dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, as string) error {
			r, err := c.Catalogue.LintCatalogue(ctx, &sandgatev1.LintCatalogueRequest{PageSize: 200})
			if as == dept2 && len(r.GetFindings()) > 0 {
				return errors.New("another department's gaps are listed")
			}
			return err
		}},
		{"LintCatalogue/of a department", []string{dept, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Catalogue.LintCatalogue(ctx, &sandgatev1.LintCatalogueRequest{Department: dept})
			return err
		}},
		{"ListNegativeEntries", []string{op0, op1, dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Catalogue.ListNegativeEntries(ctx, &sandgatev1.ListNegativeEntriesRequest{})
			return err
		}},
		// auto:
		{"ListAlerts", []string{bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Supervision.ListAlerts(ctx, &sandgatev1.ListAlertsRequest{})
			return err
		}},
		{"ListStandingOrders", []string{op0, op1, dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Supervision.ListStandingOrders(ctx, &sandgatev1.ListStandingOrdersRequest{})
			return err
		}},
		{"AssessRisk", []string{dept}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Risk.AssessRisk(ctx, &sandgatev1.AssessRiskRequest{Dataset: "roles", Model: "enclave", ContextRisk: "0.1"})
			return err
		}},
		{"GetWitnessing", []string{op0, op1, dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Witness.GetWitnessing(ctx, &sandgatev1.GetWitnessingRequest{})
			return err
		}},
		{"GetEvidence", owner, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Witness.GetEvidence(ctx, &sandgatev1.GetEvidenceRequest{Name: "jobs/" + job})
			return err
		}},
		{"ListEntries", []string{bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Regulator.ListEntries(ctx, &sandgatev1.ListEntriesRequest{})
			return err
		}},
		{"GetEntry", []string{bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Regulator.GetEntry(ctx, &sandgatev1.GetEntryRequest{Seq: 1})
			return err
		}},
		{"ProveEntry", []string{bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Regulator.ProveEntry(ctx, &sandgatev1.ProveEntryRequest{Seq: 1})
			return err
		}},
		{"CopyLedger", []string{bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			s, err := c.Regulator.CopyLedger(ctx, &sandgatev1.CopyLedgerRequest{})
			for err == nil {
				_, err = s.Recv()
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}},
		{"ListLicences", []string{op0, op1, dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, as string) error {
			r, err := c.Licence.ListLicences(ctx, &sandgatev1.ListLicencesRequest{PageSize: 200})
			for _, l := range r.GetLicences() {
				if (as == op0 || as == op1 || as == dept2) && l.GetOperator() != as {
					return fmt.Errorf("%s is shown a licence of %s", as, l.GetOperator())
				}
			}
			return err
		}},
		{"GetLicence", []string{op0, dept, bureau}, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Licence.GetLicence(ctx, &sandgatev1.GetLicenceRequest{Name: "licences/" + attack.LicenceID(op0, "roles")})
			return err
		}},
		{"ListOrders", []string{op0, op1, dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Licence.ListOrders(ctx, &sandgatev1.ListOrdersRequest{})
			return err
		}},
		{"ListConsents", []string{dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Licence.ListConsents(ctx, &sandgatev1.ListConsentsRequest{})
			return err
		}},
		{"ComputeSubject", []string{dept}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Licence.ComputeSubject(ctx, &sandgatev1.ComputeSubjectRequest{Dataset: "roles", Id: "u1"})
			if attack.Reason(err) == "SUBJECT_DATASET" {
				return nil // the table's unit is no person: past the door
			}
			return err
		}},
		{"GetOperation", owner, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Operations.GetOperation(ctx, &longrunningpb.GetOperationRequest{Name: "operations/" + job})
			return err
		}},
		{"WaitOperation", owner, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Operations.WaitOperation(ctx, &longrunningpb.WaitOperationRequest{Name: "operations/" + job, Timeout: durationpb.New(time.Second)})
			return err
		}},
		{"ListOperations", []string{op0, op1, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Operations.ListOperations(ctx, &longrunningpb.ListOperationsRequest{PageSize: 2})
			return err
		}},
		{"CancelOperation", owner, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			// The job has ended: whoever may cancel it is told so.
			_, err := c.Operations.CancelOperation(ctx, &longrunningpb.CancelOperationRequest{Name: "operations/" + job})
			if attack.Reason(err) == "NOT_CANCELLABLE" {
				return nil
			}
			return err
		}},
		{"ListApplications", []string{op0, op1, dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, as string) error {
			r, err := c.Desk.ListApplications(ctx, &sandgatev1.ListApplicationsRequest{PageSize: 2})
			for _, v := range r.GetApplications() {
				if v.GetOperator() != as && as != bureau && as != dept {
					return fmt.Errorf("%s is shown an application of %s", as, v.GetOperator())
				}
			}
			return err
		}},
		{"ListObjections", []string{op0, op1, dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Desk.ListObjections(ctx, &sandgatev1.ListObjectionsRequest{})
			return err
		}},
		{"ListCorrections", []string{op0, op1, dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Desk.ListCorrections(ctx, &sandgatev1.ListCorrectionsRequest{})
			return err
		}},
		{"ListDuties", []string{op0, op1, dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Desk.ListDuties(ctx, &sandgatev1.ListDutiesRequest{})
			return err
		}},
		{"RotateKey", []string{bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Keys.RotateKey(ctx, &sandgatev1.RotateKeyRequest{Key: "storage"})
			return err
		}},
		{"RetireKey", []string{bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			if _, err := c.Keys.RetireKey(ctx, &sandgatev1.RetireKeyRequest{Key: "ca"}); attack.Reason(err) != "NOTHING_TO_RETIRE" {
				return err
			}
			return nil
		}},
		{"ListKeys", []string{bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Keys.ListKeys(ctx, &sandgatev1.ListKeysRequest{})
			return err
		}},
		{"DestroySnapshot", []string{dept}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Keys.DestroySnapshot(ctx, &sandgatev1.DestroySnapshotRequest{Dataset: "roles-leaving"})
			return err
		}},
		// verification:
		{"Verify", operators, codes.PermissionDenied, func(ctx context.Context, c *client.Client, as string) error {
			_, err := c.Verify.Verify(ctx, &sandgatev1.VerifyRequest{RequestId: uuid.NewString(), Licence: attack.LicenceID(as, "roles"), Purpose: attack.Purpose, Product: "none", SubjectId: "u1"})
			if attack.Reason(err) == "JOB_KIND_NOT_LICENSED" {
				return nil // past the door
			}
			return err
		}},
		{"GetVerification", nil, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Verify.GetVerification(ctx, &sandgatev1.GetVerificationRequest{Name: "verifications/none"})
			return err
		}},
		{"ListVerifications", []string{op0, op1, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, as string) error {
			r, err := c.Verify.ListVerifications(ctx, &sandgatev1.ListVerificationsRequest{PageSize: 200})
			for _, v := range r.GetVerifications() {
				if as != bureau && (v.GetOperator() != as || v.GetInsight() != nil) {
					return fmt.Errorf("%s is shown a verification of %s", as, v.GetOperator())
				}
			}
			return err
		}},
		{"DeleteOperation", nil, codes.InvalidArgument, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Operations.DeleteOperation(ctx, &longrunningpb.DeleteOperationRequest{Name: "operations/" + job})
			return err
		}},
	}
	through, allowed := 0, 0
	for _, m := range slices.Concat(calls, modelCalls(), hubCalls(), twinCalls(), relationsCalls(), trainingCalls()) {
		for _, as := range everyone {
			err := m.call(t.Context(), a.Client(as), as)
			if slices.Contains(m.allowed, as) {
				if err != nil {
					t.Errorf("%s as %s: %v", m.name, as, err)
				}
				allowed++
				continue
			}
			if err == nil {
				through++
				t.Errorf("%s as %s is allowed", m.name, as)
				continue
			}
			if code, _ := wellFormed(t, m.name+" as "+as, err); code != m.denied {
				t.Errorf("%s as %s: %v, want %v", m.name, as, err, m.denied)
			}
		}
	}
	// Somebody else's job and one that never was are told in the same words.
	theirs := func(name string) string {
		_, err := a.Client(op1).Operator.GetRelease(t.Context(), &sandgatev1.GetReleaseRequest{Name: name})
		return fmt.Sprint(status.Convert(err).Proto())
	}
	if x, y := theirs("jobs/"+job), theirs("jobs/00000000000000000000"); x != y {
		t.Errorf("another operator's job is told from none:\n%s\n%s", x, y)
	}
	// A licence that another operator holds, too.
	foreign := func(id string) string {
		_, err := a.Client(op1).Operator.ListBudgets(t.Context(), &sandgatev1.ListBudgetsRequest{Licence: id})
		return fmt.Sprint(status.Convert(err).Proto())
	}
	if x, y := foreign(attack.LicenceID(op0, "roles")), foreign("no-such-licence"); x != y {
		t.Errorf("another operator's licence is told from none:\n%s\n%s", x, y)
	}
	borrowed := attack.Request(op0, "roles", "SELECT COUNT(*) AS n FROM roles", 0)
	if _, err := a.Client(op1).Run(t.Context(), borrowed); attack.Reason(err) != "LICENCE_UNKNOWN" {
		t.Errorf("a borrowed licence: %v", err)
	}
	attack.Record(t, attack.Score{Attack: "15 roles × RPCs", Figure: through, Bound: 0, Control: fmt.Sprintf("%d allowed calls work", allowed), Pass: through == 0 && !t.Failed(), Trials: len(calls) * len(everyone)})
}

// Without a certificate of this home's authority nothing answers, not even
// health and reflection.
func TestAttack15_Certificates(t *testing.T) {
	a := shared(t)
	kit, err := home.OpenKit(a.KitDir(attack.Op(0)))
	if err != nil {
		t.Fatal(err)
	}
	good, err := kit.TLS()
	if err != nil {
		t.Fatal(err)
	}
	// Another authority issues a certificate in the same name.
	elsewhere, err := home.Create(t.TempDir()+"/home", a.Home.Config, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := elsewhere.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	false1, err := elsewhere.NewKit(keys, t.TempDir()+"/kit", attack.Op(0), a.Addr, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	forged, err := false1.TLS()
	if err != nil {
		t.Fatal(err)
	}
	stale, err := a.Home.NewKit(a.Keys, t.TempDir()+"/kit", attack.Op(0), a.Addr, time.Now().AddDate(-3, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	expired, err := stale.TLS()
	if err != nil {
		t.Fatal(err)
	}
	odd := func(party string) *tls.Config {
		k, err := a.Home.NewKit(a.Keys, t.TempDir()+"/kit", party, a.Addr, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		c, err := k.TLS()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	probe := func(conf *tls.Config) (health, reflect, list error) {
		conf = conf.Clone()
		conf.RootCAs = good.RootCAs
		conn, err := grpc.NewClient(a.Addr, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, health = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
		s, reflect := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
		if reflect == nil {
			reflect = s.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
			if _, rerr := s.Recv(); rerr != nil {
				reflect = rerr
			}
		}
		_, list = sandgatev1.NewOperatorServiceClient(conn).ListDatasets(ctx, &sandgatev1.ListDatasetsRequest{})
		return health, reflect, list
	}
	through := 0
	none, old := &tls.Config{MinVersion: tls.VersionTLS13}, good.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	bad := map[string]*tls.Config{"no certificate": none, "another authority": forged, "expired": expired, "TLS 1.2": old}
	for name, conf := range bad {
		h, r, l := probe(conf)
		for what, err := range map[string]error{"health": h, "reflection": r, "list": l} {
			if status.Code(err) != codes.Unavailable {
				through++
				t.Errorf("%s: %s answered %v", name, what, err)
			}
		}
	}
	for _, party := range []string{"gateway", "op9", attack.Ghost} {
		h, r, l := probe(odd(party))
		if h != nil || r != nil {
			t.Errorf("party %q: health %v, reflection %v", party, h, r)
		}
		if status.Code(l) != codes.PermissionDenied {
			through++
			t.Errorf("party %q: catalogue %v", party, l)
		} else {
			wellFormed(t, party, l)
		}
	}
	h, r, l := probe(good)
	if h != nil || r != nil || l != nil {
		t.Errorf("control: %v %v %v", h, r, l)
	}
	attack.Record(t, attack.Score{Attack: "15 certificates", Figure: through, Bound: 0, Control: "the operator's own works", Pass: through == 0, Trials: 3*len(bad) + 3})
}

// Absurd values in every field of every request: a refusal or an answer, never a
// crash, never an internal error.
func TestAttack15_AbsurdInputs(t *testing.T) {
	a := shared(t)
	a.Add(t, people("absurd", 100, ""))
	before, _ := a.Spent(t, attack.Op(0), "absurd", "lifetime")
	texts := []string{"", " ", "\x00", "..", "../../../etc/passwd", "jobs/../x", "operations/-", strings.Repeat("a", 70_000), "'; DROP TABLE x; --", "LTE", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "\u202e\u200b", "%s%n", "🂡", "-1", "MTg0NDY3NDQwNzM3MDk1NTE2MTY"}
	numbers := []int64{-1, math.MinInt32, math.MaxInt32, math.MinInt64, math.MaxInt64}
	parties := []string{attack.Op(0), attack.Department, attack.Regulator}
	if !attack.Full() {
		parties = []string{attack.Op(0), attack.Regulator}
		texts = texts[:10]
	}
	conns := map[string]*grpc.ClientConn{}
	for _, p := range parties {
		kit, err := home.OpenKit(a.KitDir(p))
		if err != nil {
			t.Fatal(err)
		}
		conf, err := kit.TLS()
		if err != nil {
			t.Fatal(err)
		}
		if conns[p], err = grpc.NewClient(a.Addr, grpc.WithTransportCredentials(credentials.NewTLS(conf)), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20))); err != nil {
			t.Fatal(err)
		}
		defer conns[p].Close()
	}
	calls, internal := 0, 0
	invoke := func(p string, m protoreflect.MethodDescriptor, req proto.Message) {
		out, err := protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		calls++
		// Signed, so that the absurd field is looked at; what cannot be signed goes as
		// it is.
		if r, ok := req.(*sandgatev1.SubmitJobRequest); ok && len(r.GetSignedRequest()) == 0 && p == attack.Op(0) {
			if s, err := a.Client(p).SignJob(ctx, r); err == nil {
				req = s
			}
		}
		name := fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())
		err = conns[p].Invoke(ctx, name, req, out.New().Interface())
		if err == nil {
			return
		}
		switch code, reason := wellFormed(t, name, err); code {
		case codes.Internal, codes.Unknown, codes.DataLoss, codes.Unavailable:
			internal++
			t.Errorf("%s as %s: %s %v", name, p, reason, err)
		}
	}
	// mutate sets one field, at any depth, and calls try with each absurd value.
	var mutate func(root proto.Message, m protoreflect.Message, try func())
	mutate = func(root proto.Message, m protoreflect.Message, try func()) {
		fields := m.Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			set := func(v protoreflect.Value) {
				old, had := m.Get(f), m.Has(f)
				m.Set(f, v)
				try()
				m.Clear(f)
				if had {
					m.Set(f, old)
				}
			}
			switch {
			case f.IsList() || f.IsMap():
			case f.Kind() == protoreflect.StringKind:
				for _, s := range texts {
					set(protoreflect.ValueOfString(s))
				}
			case f.Kind() == protoreflect.BytesKind:
				for _, s := range texts {
					set(protoreflect.ValueOfBytes([]byte(s)))
				}
			case f.Kind() == protoreflect.Int32Kind || f.Kind() == protoreflect.Sint32Kind:
				for _, n := range numbers {
					set(protoreflect.ValueOfInt32(int32(n)))
				}
			case f.Kind() == protoreflect.Int64Kind:
				for _, n := range numbers {
					set(protoreflect.ValueOfInt64(n))
				}
			case f.Kind() == protoreflect.Uint64Kind:
				for _, n := range numbers {
					set(protoreflect.ValueOfUint64(uint64(n)))
				}
			case f.Kind() == protoreflect.MessageKind:
				set(m.NewField(f))
				if m.Has(f) {
					mutate(root, m.Mutable(f).Message(), try)
				}
			}
		}
	}
	for _, service := range []string{"sandgate.v1.OperatorService", "sandgate.v1.PolicyService", "sandgate.v1.DepartmentService", "sandgate.v1.RegulatorService", "sandgate.v1.LicenceService", "sandgate.v1.DeskService", "sandgate.v1.ProductService", "sandgate.v1.StatementService", "sandgate.v1.CatalogueService", "google.longrunning.Operations"} {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
		if err != nil {
			t.Fatal(err)
		}
		methods := d.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			m := methods.Get(i)
			if m.IsStreamingClient() || m.IsStreamingServer() {
				continue
			}
			typ, err := protoregistry.GlobalTypes.FindMessageByName(m.Input().FullName())
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range parties {
				req := typ.New().Interface()
				// A valid beginning, so that the absurd field is what decides.
				switch r := req.(type) {
				case *sandgatev1.SubmitJobRequest:
					proto.Merge(r, attack.Request(attack.Op(0), "absurd", "SELECT * FROM absurd", 0))
				case *sandgatev1.ExplainJobRequest:
					proto.Merge(r, explain(attack.Op(0), "absurd", "SELECT COUNT(*) AS n FROM absurd"))
				}
				invoke(p, m, req)
				mutate(req, req.ProtoReflect(), func() { invoke(p, m, req) })
			}
		}
	}
	// Streams: no header, an unknown format, broken files, a chunk too large, a
	// method that does not exist.
	ingest := func(first *sandgatev1.IngestSnapshotRequest, rest ...*sandgatev1.IngestSnapshotRequest) error {
		s, err := a.Client(attack.Department).Department.IngestSnapshot(t.Context())
		if err != nil {
			return err
		}
		for _, m := range append([]*sandgatev1.IngestSnapshotRequest{first}, rest...) {
			if err := s.Send(m); err != nil {
				break // Recv says why
			}
		}
		if err := s.CloseSend(); err != nil {
			return err
		}
		for {
			if m, err := s.Recv(); err != nil || m.GetSnapshot() != nil {
				return err
			}
		}
	}
	head := func(dataset, format string) *sandgatev1.IngestSnapshotRequest {
		return &sandgatev1.IngestSnapshotRequest{Part: &sandgatev1.IngestSnapshotRequest_Header{Header: &sandgatev1.IngestHeader{Dataset: dataset, Format: format}}}
	}
	chunk := func(s string) *sandgatev1.IngestSnapshotRequest {
		return &sandgatev1.IngestSnapshotRequest{Part: &sandgatev1.IngestSnapshotRequest_Chunk{Chunk: []byte(s)}}
	}
	old := snapshotOf(t, a, "absurd")
	for name, err := range map[string]error{
		"no header": ingest(chunk("id\n")), "no data set": ingest(head("", "csv")), "format": ingest(head("absurd", "exe"), chunk("MZ")),
		"nothing": ingest(head("absurd", "csv")), "binary": ingest(head("absurd", "csv"), chunk("\x00\xff\xfe\x00")), "parquet": ingest(head("absurd", "parquet"), chunk("PAR1PAR1")),
		"gzip": ingest(head("absurd", "csv.gz"), chunk("\x1f\x8b\x08\x00")), "header again": ingest(head("absurd", "csv"), head("absurd", "csv")),
		"large chunk": ingest(head("absurd", "csv"), chunk(strings.Repeat("x", 2<<20))), "columns": ingest(head("absurd", "csv"), chunk("id,id,id\n1,2,3\n")),
	} {
		calls++
		if err == nil {
			t.Errorf("ingest %s: accepted", name)
			continue
		}
		if code, reason := wellFormed(t, "ingest "+name, err); code == codes.Internal || code == codes.Unknown {
			internal++
			t.Errorf("ingest %s: %s %v", name, reason, err)
		}
	}
	if now := snapshotOf(t, a, "absurd"); now != old {
		t.Errorf("a refused file replaced the snapshot %s by %s", old, now)
	}
	err := conns[attack.Op(0)].Invoke(t.Context(), "/sandgate.v1.OperatorService/Nothing", &sandgatev1.GetJobRequest{}, &sandgatev1.Job{})
	if code, _ := wellFormed(t, "unknown method", err); code != codes.Unimplemented {
		t.Errorf("unknown method: %v", err)
	}
	after, _ := a.Spent(t, attack.Op(0), "absurd", "lifetime")
	if after != before {
		t.Errorf("absurd requests were charged %d", after-before)
	}
	if l := a.Logs.String(); strings.Contains(l, `"msg":"panic"`) || strings.Contains(l, "msg=panic") {
		t.Error("a request made the gateway panic")
	}
	attack.Record(t, attack.Score{Attack: "15 absurd inputs", Figure: internal, Bound: 0, Control: "every other test's requests", Pass: internal == 0, Trials: calls})
}

func snapshotOf(t testing.TB, a *attack.Arena, dataset string) string {
	t.Helper()
	r, err := a.Client(attack.Department).Department.ListSnapshots(t.Context(), &sandgatev1.ListSnapshotsRequest{PageSize: 200})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.GetSnapshots() {
		if strings.HasPrefix(s.GetName(), "datasets/"+dataset+"/") {
			return s.GetName()
		}
	}
	return ""
}

// Pages together are the whole list, once.
func TestAttack15_Pages(t *testing.T) {
	a := shared(t)
	a.Add(t, people("pages", 50, ""))
	for i := range 5 {
		if _, err := a.Run(attack.Op(4), "pages", fmt.Sprintf("SELECT * FROM pages LIMIT %d", i), 0); err == nil {
			t.Fatal("rows were released")
		}
	}
	op := a.Client(attack.Op(4)).Operator
	whole, err := op.ListJobs(t.Context(), &sandgatev1.ListJobsRequest{PageSize: 200})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for req := (&sandgatev1.ListJobsRequest{PageSize: 2}); ; {
		page, err := op.ListJobs(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.GetJobs()) > 2 {
			t.Fatalf("a page of %d", len(page.GetJobs()))
		}
		for _, j := range page.GetJobs() {
			names = append(names, j.GetName())
		}
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	var want []string
	for _, j := range whole.GetJobs() {
		want = append(want, j.GetName())
	}
	if !slices.Equal(names, want) || len(names) < 5 {
		t.Errorf("pages hold %v, the list %v", names, want)
	}
}
