package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/sandgate/sandgate/cmd/sandgate/internal/city"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/ledger/audit"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// Parties of the federation that the demo plays. The province's gateway is the hub and its
// bureau the regulator; the cities are domains with homes of their own.
const (
	province      = "province"
	provincialDep = "hrss"
	joinedData    = "social_insurance"
	regionName    = "delta"
	hubParty      = "hub"
)

var (
	joinedCities  = []string{"city_a", "city_b", "city_c"}
	joinedSeeds   = map[string]uint64{"city_a": 11, "city_b": 12, "city_c": 13}
	joinedPurpose = []string{"urban_planning", "industry_research"}
	joinedColumns = []string{"scheme", "district", "base_yuan", "contribution_yuan"}
)

// federation is the stage of that play: a hub in this process, a process for each node.
type federation struct {
	a     *app
	o     demoOptions
	dir   string
	hub   *stage
	rules string // the department's documents, of every home
	nodes map[string]*partner
}

// playFederation plays rounds of three cities and a regulator.
func (a *app) playFederation(ctx context.Context, o demoOptions) (err error) {
	begin := time.Now()
	dir := o.home
	if dir == "" {
		if dir, err = os.MkdirTemp("", "sandgate-demo-"); err != nil {
			return texts.Errorf("failed to create demo directory: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	text, err := os.ReadFile(filepath.Join(o.assets, provincialDep+".yaml"))
	if err != nil {
		return texts.Errorf("failed to read the demo city's policy (run from the source folder, or pass --assets): %w", err)
	}
	f := &federation{a: a, o: o, dir: dir, nodes: map[string]*partner{}}
	if f.rules, err = openToTraining(string(text), "linear, logistic", "0.088", "scheme: [key, filter", "base_yuan: [filter, measure", "district: [key, filter, join"); err != nil {
		return err
	}
	f.rules += "    budget: {operator_year: \"0.4\", dataset_year: \"0.5\", lifetime: \"0.6\"}\n" // models cost more than the default of a year leaves
	defer func() { err = errors.Join(err, f.end()) }()
	a.heading("一、汇聚方、三个城市和主管部门，各有自己的主目录、账本与策略", "1. An aggregator, three cities and a regulator, each with home, ledger and policy of its own")
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return texts.Errorf("failed to listen: %w", err)
	}
	if err := f.settle(ctx, lis.Addr().String()); err != nil {
		return errors.Join(err, lis.Close())
	}
	if err := f.serving(ctx, f.hub, lis, func() error { return f.acts(ctx) }); err != nil {
		return err
	}
	if err := f.audits(ctx); err != nil {
		return err
	}
	a.say("\n演示用时 %.1f 秒", "\nthe story took %.1f s", time.Since(begin).Seconds())
	return nil
}

// settle makes the hub's home with a kit for every party, and the homes of all.
func (f *federation) settle(ctx context.Context, addr string) (err error) {
	if f.hub, err = f.newHome("hub", province, addr); err != nil {
		return err
	}
	for _, p := range append([]string{provincialDep, "alpha"}, joinedCities...) {
		if _, err := f.hub.home.NewKit(f.hub.keys, f.hub.kitDir(p), p, addr, time.Now()); err != nil {
			return err
		}
	}
	// The regulator's node has a home of its own, as every city has.
	for _, c := range append([]string{province}, joinedCities...) {
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return texts.Errorf("failed to listen: %w", err)
		}
		s, err := f.newHome(c, "data_bureau", lis.Addr().String())
		if err != nil {
			return errors.Join(err, lis.Close())
		}
		if err := f.serving(ctx, s, lis, func() error { return f.domain(ctx, c, s) }); err != nil {
			return texts.Errorf("%s: %w", c, err)
		}
	}
	return nil
}

func (f *federation) newHome(name, regulator, addr string) (s *stage, err error) {
	s = &stage{a: f.a, dir: filepath.Join(f.dir, name), addr: addr, clients: map[string]*client.Client{}}
	s.home, s.keys, err = createHome(filepath.Join(s.dir, "home"), regulator, s.kitDir(regulator), "sandgate.demo/"+name, addr, f.o.crypto, []string{"127.0.0.1", "localhost"})
	return s, err
}

// serving opens a home in this process for as long as play takes.
func (f *federation) serving(ctx context.Context, s *stage, lis net.Listener, play func() error) (err error) {
	d, err := gateway.OpenDomain(ctx, s.home, gateway.Options{Tier: sandbox.Tier(f.o.tier), Tick: demoTick, SnapshotMemory: 256 << 20, Logger: slog.New(slog.NewTextHandler(f.a.err, f.a.logOptions(slog.LevelError)))})
	if err != nil {
		return errors.Join(err, lis.Close())
	}
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- gateway.Serve(serving, d, lis) }()
	defer func() {
		for p, c := range s.clients {
			err = errors.Join(err, c.Close())
			delete(s.clients, p)
		}
		stop()
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, <-served, d.Close(closing))
	}()
	return play()
}

// dial connects as a party of a stage, by its kit.
func (s *stage) dial(parties ...string) error {
	for _, p := range parties {
		k, err := home.OpenKit(s.kitDir(p))
		if err != nil {
			return err
		}
		if s.clients[p], err = client.Dial(k, ""); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) public(party string) (string, error) {
	k, err := home.OpenKit(s.kitDir(party))
	if err != nil {
		return "", err
	}
	sign, err := k.SigningKey()
	if err != nil {
		return "", err
	}
	return home.PublicOf(sign)
}

// registry names parties by the keys of their kits.
func (s *stage) registry(roles map[string]string) (string, error) {
	out := "kind: Registry\nparties:\n"
	for p, role := range roles {
		key, err := s.public(p)
		if err != nil {
			return "", err
		}
		out += fmt.Sprintf("  - {id: %s, role: %s, title: {zh: %s}, key: %q}\n", p, role, p, key)
	}
	return out + "purposes:\n  - {id: urban_planning, title: {zh: 城市规划}, fee: governance}\n  - {id: public_health, title: {zh: 公共卫生}, fee: welfare}\n" +
		"  - {id: inclusive_finance, title: {zh: 普惠金融}, fee: industry}\n  - {id: industry_research, title: {zh: 产业研究}, fee: industry}\n", nil
}

// agreement is the Federation that all of them sign, each in its own ledger.
func (f *federation) agreement() (string, error) {
	k, err := f.hub.home.Unlock()
	if err != nil {
		return "", err
	}
	v := policies.Federation{Region: regionName, Hub: policies.FederationHub{Party: hubParty, Key: home.PublicKey(ed25519.NewKeyFromSeed(k.Receipt).Public().(ed25519.PublicKey)), Origin: f.hub.home.Config.Origin}, Threshold: 2, Schemes: []string{"bgv", "mask"}, K: 3, Dishonest: 1,
		Dataset: joinedData, Columns: joinedColumns, Purposes: joinedPurpose, MaxUnits: 100_000, Overlap: 2, Rho: policies.FederationRho{Round: "0.01", Period: "0.5"}, Models: joinedModels,
		NotBefore: time.Now().Add(-time.Hour).UTC().Truncate(time.Second), NotAfter: time.Now().AddDate(1, 0, 0).UTC().Truncate(time.Second)}
	for p, roles := range map[string][]policies.FederationRole{province: {policies.FederationRegulator}, "alpha": {policies.FederationReceiver},
		"city_a": {policies.FederationContributor, policies.FederationKey}, "city_b": {policies.FederationContributor, policies.FederationKey}, "city_c": {policies.FederationContributor}} {
		key, err := f.hub.public(p)
		if err != nil {
			return "", err
		}
		v.Parties = append(v.Parties, policies.FederationParty{Party: p, Key: key, Roles: roles})
	}
	slices.SortFunc(v.Parties, func(x, y policies.FederationParty) int { return strings.Compare(x.Party, y.Party) })
	text, err := documentOf(policies.KindFederation, v)
	return string(text), err
}

// domain settles a city, or the regulator's home, which has no data.
func (f *federation) domain(ctx context.Context, name string, s *stage) error {
	agreement, err := f.signed()
	if err != nil {
		return err
	}
	roles := map[string]string{"data_bureau": "regulator"}
	signer := "data_bureau"
	if name != province {
		signer, roles[provincialDep] = provincialDep, "department"
		if _, err := s.home.NewKit(s.keys, s.kitDir(provincialDep), provincialDep, s.addr, time.Now()); err != nil {
			return err
		}
	}
	if err := s.dial("data_bureau", signer); err != nil {
		return err
	}
	text, err := s.registry(roles)
	if err != nil {
		return err
	}
	if err := s.applySigned(ctx, "data_bureau", text, "data_bureau"); err != nil {
		return err
	}
	if name == province {
		f.a.say("  %-9s 主管部门的节点：没有数据，持有必不可少的密钥份额", "  %-9s the regulator's node: no data, and the share of the key without which nothing opens", name)
		return s.applySigned(ctx, signer, agreement, signer)
	}
	rules := f.rules
	if name == "city_b" { // its own department lets nobody do research with it
		rules = strings.Replace(rules, ", industry_research]", "]", 1)
	}
	if err := errors.Join(s.applySigned(ctx, signer, rules, signer), s.applySigned(ctx, signer, agreement, signer)); err != nil {
		return err
	}
	g := city.New(city.Config{Seed: joinedSeeds[name], Residents: f.o.joined()})
	r := generated(g, joinedData)
	snap, err := f.a.ingest(ctx, s.clients[signer], joinedData, "csv", r)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	f.a.say("  %-9s %7d 行  %6d 单元", "  %-9s %7d rows  %6d units", name, snap.GetRows(), snap.GetUnits())
	return nil
}

// joined is how many residents a city of the federation has.
func (o demoOptions) joined() int { return min(o.residents, 10_000) }

// signed is the agreement, made once: all sign the same text.
func (f *federation) signed() (string, error) {
	path := filepath.Join(f.dir, "federation.yaml")
	text, err := os.ReadFile(path)
	if err == nil {
		return string(text), nil
	}
	made, err := f.agreement()
	if err != nil {
		return "", err
	}
	// The operator has the text that it is named in, and checks answers by it.
	own := filepath.Join(f.dir, hubParty, "kits", "alpha", "agreements")
	if err := os.MkdirAll(own, 0o700); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(own, regionName+".yaml"), []byte(made), 0o600); err != nil {
		return "", err
	}
	return made, os.WriteFile(path, []byte(made), 0o600)
}

// acts plays the rounds, with the hub served in this process.
func (f *federation) acts(ctx context.Context) error {
	s, a := f.hub, f.a
	if err := f.enrol(ctx); err != nil {
		return err
	}
	a.say("  %-9s 只有目录与规则，没有数据，也没有密钥份额", "  %-9s catalogue and rules alone: no rows, and no share of any key", hubParty)
	if err := f.startAll(ctx, append([]string{province}, joinedCities...)...); err != nil {
		return err
	}
	a.say("  四个节点已就绪，各为一个进程，经双向 TLS 拨入汇聚方 %s", "  four nodes are ready, each a process, on mutual TLS to the hub %s", s.addr)
	const query = "SELECT scheme, COUNT(*) AS payments, SUM(contribution_yuan) AS paid, AVG(base_yuan) AS mean_base FROM social_insurance GROUP BY scheme"
	a.heading("二、三城合计：各域按自己的策略答复，只打开全体之和", "2. Sums of three cities: each domain decides by its own policy, and nothing is opened but the sum of all")
	for _, scheme := range []string{"bgv", "mask"} {
		if err := f.expect(ctx, f.ask(query, "urban_planning", scheme), sandgatev1.Round_STATE_RELEASED, "", ""); err != nil {
			return err
		}
	}
	a.heading("三、一个域按自己的策略拒绝", "3. One domain refuses by its own policy")
	if err := f.expect(ctx, f.ask(query, "industry_research", ""), sandgatev1.Round_STATE_FAILED, "FEDERATION_DECLINED", "city_b"); err != nil {
		return err
	}
	a.heading("四、一方在轮次进行中被杀", "4. A party is killed while a round runs")
	if err := f.killed(ctx, f.ask(query, "urban_planning", "")); err != nil {
		return err
	}
	a.heading("五、另起一轮", "5. Another round")
	if err := f.startAll(ctx, "city_b", "city_c"); err != nil {
		return err
	}
	if err := f.expect(ctx, f.ask("SELECT district, COUNT(*) AS payments FROM social_insurance GROUP BY district", "urban_planning", ""), sandgatev1.Round_STATE_RELEASED, "", ""); err != nil {
		return err
	}
	a.heading("六、跨域训练模型：每遍扫描一轮，最后由每个域检验", "6. A model over the cities: a round for each pass, and in the end every domain tries it")
	if err := f.trains(ctx); err != nil {
		return err
	}
	return f.end()
}

// enrol puts the hub's registry, catalogue, licence and agreement in force.
func (f *federation) enrol(ctx context.Context) error {
	s := f.hub
	if err := s.dial(province, provincialDep, "alpha"); err != nil {
		return err
	}
	roles := map[string]string{province: "regulator", provincialDep: "department", "alpha": "operator"}
	for _, c := range joinedCities {
		roles[c] = "department"
	}
	registry, err := s.registry(roles)
	if err != nil {
		return err
	}
	agreement, err := f.signed()
	if err != nil {
		return err
	}
	licence := fmt.Sprintf("kind: Licence\nid: alpha-region\noperator: alpha\ntitle: {zh: 区域合计}\nscenario: {zh: 演示}\npurposes: [%s]\nnot_before: %s\nnot_after: %s\nresources:\n  - {dataset: %s, columns: [%s]}\njobs: [query, model]\nsecurity_terms: {zh: 沙箱}\nexit_terms: {zh: 停止}\n",
		join(joinedPurpose), time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), time.Now().AddDate(1, 0, 0).UTC().Format(time.RFC3339), joinedData, join(joinedColumns))
	if err := os.WriteFile(filepath.Join(s.dir, "registry.yaml"), []byte(registry), 0o600); err != nil {
		return texts.Errorf("failed to write registry: %w", err)
	}
	for _, x := range []struct {
		text    string
		signers []string
	}{{registry, []string{province}}, {f.rules, []string{provincialDep}}, {licence, []string{province, provincialDep}}, {agreement, []string{provincialDep}}} {
		if err := s.applySigned(ctx, x.signers[0], x.text, x.signers...); err != nil {
			return err
		}
	}
	return nil
}

func (f *federation) ask(text, purpose, scheme string) *sandgatev1.ProposeRoundRequest {
	return &sandgatev1.ProposeRoundRequest{RequestId: uuid.NewString(), Region: regionName, Licence: "alpha-region", Purpose: purpose, Period: "2025", Sql: text, Scheme: scheme, PriceNanoRho: 4_000_000, Seconds: 60}
}

// expect proposes a round and holds its end against what must come of it.
func (f *federation) expect(ctx context.Context, req *sandgatev1.ProposeRoundRequest, want sandgatev1.Round_State, code, party string) error {
	fmt.Fprintf(f.a.out, "\n    %s\n", req.GetSql())
	c := f.hub.clients["alpha"]
	start := time.Now()
	r, err := c.Round.ProposeRound(ctx, req)
	if err == nil {
		r, err = c.FollowRound(ctx, r, nil)
	}
	if err != nil {
		return err
	}
	return f.ended(ctx, r, want, code, party, start)
}

func (f *federation) ended(ctx context.Context, r *sandgatev1.Round, want sandgatev1.Round_State, code, party string, start time.Time) error {
	a := f.a
	for _, x := range r.GetReasons() {
		a.say("  ✗ %s（%s）：%s", "  ✗ %s (%s): %s", x.GetCode(), x.GetSetBy(), reasonText(x, a.lang))
	}
	if r.GetState() != want || code != "" && (len(r.GetReasons()) != 1 || r.GetReasons()[0].GetCode() != code || r.GetReasons()[0].GetSetBy() != party) {
		return texts.Errorf("the round ended as %s, expected %s", r.GetState().String()+f.words(), want.String()+" "+code+" "+party)
	}
	if want != sandgatev1.Round_STATE_RELEASED {
		return nil
	}
	got, err := f.hub.clients["alpha"].Round.GetRoundRelease(ctx, &sandgatev1.GetRoundReleaseRequest{Name: r.GetName()})
	if err != nil {
		return err
	}
	agreed, err := a.agreement(filepath.Join(f.dir, "federation.yaml"), regionName)
	if err != nil {
		return err
	}
	if err := client.CheckRound(*agreed, "alpha", "", got); err != nil {
		return err
	}
	if err := f.hub.keep(got.GetRelease().GetReceipt()); err != nil {
		return err
	}
	if err := a.release(got.GetRelease()); err != nil {
		return err
	}
	a.say("  ✓ 已发布：%d 个域之和，方案 %s，每域花费 ρ %s，%.1f 秒；方括号内为 95%% 置信区间；一个单元至多计 %d 次", "  ✓ released: the sum of %d domains by %s, ρ %s in each, %.1f s; brackets hold the 95%% confidence interval; a unit is counted %d times at most",
		len(r.GetContributors()), r.GetScheme(), rho(r.GetPriceNanoRho()), time.Since(start).Seconds(), r.GetOverlap())
	return nil
}

// words is what the nodes said, for a story that went wrong.
func (f *federation) words() (out string) {
	for p, n := range f.nodes {
		out += "\n" + p + ": " + n.said.all()
	}
	return out
}

// killed has a round wait for a city that is away, and kills another that has answered.
func (f *federation) killed(ctx context.Context, req *sandgatev1.ProposeRoundRequest) error {
	if err := f.stop("city_c", syscall.SIGTERM); err != nil {
		return err
	}
	c := f.hub.clients["alpha"]
	start := time.Now()
	r, err := c.Round.ProposeRound(ctx, req)
	for err == nil && !slices.Equal(r.GetMissing(), []string{"city_c"}) && r.GetState() == sandgatev1.Round_STATE_RUNNING {
		time.Sleep(50 * time.Millisecond)
		r, err = c.Round.GetRound(ctx, &sandgatev1.GetRoundRequest{Name: r.GetName()})
	}
	if err != nil {
		return err
	}
	f.a.say("  %s 等待 city_c；此时 city_b 的进程被 SIGKILL", "  %s waits for city_c; now the process of city_b gets a SIGKILL", r.GetName())
	if err := f.stop("city_b", syscall.SIGKILL); err != nil {
		return err
	}
	if r, err = c.FollowRound(ctx, r, nil); err != nil {
		return err
	}
	return f.ended(ctx, r, sandgatev1.Round_STATE_FAILED, "FEDERATION_GONE", "city_b", start)
}

// audits replays every ledger, which nobody serves any more.
func (f *federation) audits(ctx context.Context) error {
	a := f.a
	a.heading("七、逐个审计五本账本", "7. Every ledger is audited")
	var body [][]string
	bad := false
	for name, regulator := range map[string]string{hubParty: province, province: "data_bureau", "city_a": "data_bureau", "city_b": "data_bureau", "city_c": "data_bureau"} {
		opt, err := auditOptions(filepath.Join(f.dir, name, "kits", regulator, "trust.json"), nil, nil)
		if err != nil {
			return err
		}
		if name == hubParty {
			opt.Receipts = f.hub.receipts
		}
		r, err := audit.Run(ctx, filepath.Join(f.dir, name, "home", "ledger"), opt)
		if err != nil {
			return err
		}
		verdict := a.t("通过", "PASSED")
		if !r.OK {
			verdict, bad = a.t("未通过", "FAILED"), true
			for _, x := range r.Findings {
				verdict += "\n" + x.Code
			}
		}
		spent := r.State.Spent(budget.Scope{Kind: budget.ScopeLifetime, Dataset: joinedData}).String()
		body = append(body, []string{name, fmt.Sprint(r.Entries), spent, verdict})
	}
	slices.SortFunc(body, func(x, y []string) int { return strings.Compare(x[0], y[0]) })
	printTable(a.out, []string{a.t("账本", "ledger"), a.t("记录", "entries"), a.t("重算已用 ρ", "recomputed ρ"), a.t("结论", "verdict")}, body, 1, 2)
	if bad {
		a.say("审计结论: 未通过", "verdict: FAILED")
		return &silentError{exitAuditFailed}
	}
	a.say("审计结论: 通过", "verdict: PASSED")
	return nil
}
