package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sandgate/sandgate/compute/federate/fit"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies"
)

// openToTraining lets the department of social insurance have models trained: columns may
// be trained on, and families at a price.
func openToTraining(hrss, families, rho string, columns ...string) (string, error) {
	before, rule, ok := strings.Cut(hrss, "kind: Disclosure")
	if !ok {
		return "", texts.Errorf("the demo city's hrss.yaml holds no Disclosure")
	}
	for _, c := range columns {
		if !strings.Contains(rule, c) {
			return "", texts.Errorf("the demo city's hrss.yaml opens no %s]", c)
		}
		rule = strings.Replace(rule, c, c+", train", 1)
	}
	return before + "kind: Disclosure" + strings.TrimRight(rule, "\n") + "\n    models: {families: [" + families + "], rho: \"" + rho + "\", rows_per_month: 1000}\n", nil
}

// joinedModels is what the cities' agreement says of models.
var joinedModels = &policies.FederationModels{Families: []policies.ModelFamily{policies.FamilyLinear, policies.FamilyLogistic}, Rho: "0.12"}

// joinedModel is who pays contributions on a base of 5 000 yuan and more.
var joinedModel = policies.ModelSpec{Dataset: joinedData, Family: policies.FamilyLogistic, Label: policies.ModelLabel{Column: "base_yuan", Threshold: "5000.00"},
	Features: []policies.ModelFeature{{Column: "scheme"}, {Column: "district"}}, Private: true, Rho: "0.06", RhoEvaluation: "0.02", HoldOut: 30, Release: policies.ReleaseParameters, Setting: policies.ModelSettings{Steps: 2}}

// enoughJoined is how many residents a city needs for a model to be more than its noise.
const enoughJoined = 5000

// trains plays a model over the cities, and fetches and checks what the domains certified.
func (f *federation) trains(ctx context.Context) error {
	a := f.a
	start := time.Now()
	t, err := f.training(ctx, start)
	if err == nil && verdictOf(t) && f.o.joined() >= enoughJoined {
		// A gate refuses one harmless model in a hundred, and there are three of them.
		a.say("  再训练一次", "  it is trained once more")
		t, err = f.training(ctx, start)
	}
	if err != nil {
		return err
	}
	if x := t.GetReasons(); verdictOf(t) || len(x) == 1 && strings.HasPrefix(x[0].GetCode(), "MODEL_") {
		// In a small city the noise is more than there is to learn: the gate, or the trainer,
		// says so.
		a.say("  网关不交付模型；居民更多时（--residents 5000）通过", "  the gateway hands out no model; with more residents (--residents 5000) one passes")
		return nil
	}
	if t.GetState() != sandgatev1.Training_STATE_CERTIFIED {
		return texts.Errorf("the training ended as %s, expected %s", t.GetState().String()+f.words(), "CERTIFIED")
	}
	a.say("  每个城市以自己的行攻击模型，三份结论均为 PASS；%.1f 秒", "  every city attacked the model with its own rows, and all three verdicts are PASS; %.1f s", time.Since(start).Seconds())
	got, err := f.hub.clients["alpha"].Training.GetTrainedModel(ctx, &sandgatev1.GetTrainedModelRequest{Name: t.GetName()})
	if err != nil {
		return err
	}
	if err := f.hub.keep(got.GetReceipt()); err != nil {
		return err
	}
	agreement, err := readAgreement(filepath.Join(f.dir, "federation.yaml"))
	if err != nil {
		return err
	}
	return a.trainedModel(agreement, t.GetName(), got.GetFile(), got.GetCertificate(), func() error {
		for name, text := range map[string][]byte{"model.json": got.GetFile(), "certificate.json": got.GetCertificate()} {
			if err := os.WriteFile(filepath.Join(f.dir, name), text, 0o600); err != nil {
				return texts.Errorf("failed to write model: %w", err)
			}
		}
		return nil
	})
}

// verdictOf says whether a domain's gate is why there is no model.
func verdictOf(t *sandgatev1.Training) bool {
	x := t.GetReasons()
	return len(x) == 1 && x[0].GetCode() == fit.CodeVerdict
}

// training is one of the demo's, to its end.
func (f *federation) training(ctx context.Context, start time.Time) (*sandgatev1.Training, error) {
	a, c := f.a, f.hub.clients["alpha"]
	t, err := c.Training.ProposeTraining(ctx, &sandgatev1.ProposeTrainingRequest{RequestId: uuid.NewString(), Region: regionName, Licence: "alpha-region", Purpose: "urban_planning", Period: "2025",
		Specification: []byte(joinedModel.Text()), Scheme: "mask", Seconds: 120})
	if err != nil {
		return nil, err
	}
	a.say("  %s：%s，%d 遍，每域花费 ρ %s（连同补做至多 %s）", "  %s: %s in %d passes, ρ %s in each domain (%s at most, with retries)", t.GetName(), t.GetFamily(), t.GetPasses(), rho(t.GetPriceNanoRho()), rho(t.GetReserveNanoRho()))
	last := int32(-1)
	t, err = c.FollowTraining(ctx, t, func(now *sandgatev1.Training) {
		if now.GetAnswered() != last {
			last = now.GetAnswered()
			a.say("  第 %d/%d 遍已完成（%.1f 秒）", "  %d of %d passes done (%.1f s)", last, now.GetPasses(), time.Since(start).Seconds())
		}
	})
	if err != nil {
		return nil, err
	}
	for _, x := range t.GetReasons() {
		a.say("  ✗ %s（%s）：%s", "  ✗ %s (%s): %s", x.GetCode(), x.GetSetBy(), reasonText(x, a.lang))
	}
	return t, nil
}
