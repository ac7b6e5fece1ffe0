package gateway_test

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/policies"
)

// trainingCalls are the lines of the role matrix about models over domains.
func trainingCalls() []struct {
	name    string
	allowed []string
	denied  codes.Code
	call    func(ctx context.Context, c *client.Client, as string) error
} {
	op0, op1, dept, dept2, bureau := attack.Op(0), attack.Op(1), attack.Department, attack.Other, attack.Regulator
	past := func(err error, reason string) error {
		if attack.Reason(err) == reason {
			return nil // past the door
		}
		return err
	}
	spec := policies.ModelSpec{Dataset: "roles", Family: policies.FamilyLinear, Label: policies.ModelLabel{Column: "fee"}, Features: []policies.ModelFeature{{Column: "age"}},
		Private: true, Rho: "0.01", RhoEvaluation: "0.01", Release: policies.ReleaseParameters}
	return []struct {
		name    string
		allowed []string
		denied  codes.Code
		call    func(ctx context.Context, c *client.Client, as string) error
	}{
		{"ProposeTraining", []string{op0, op1}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, as string) error {
			_, err := c.Training.ProposeTraining(ctx, &sandgatev1.ProposeTrainingRequest{RequestId: uuid.NewString(), Region: "none", Licence: attack.LicenceID(as, "roles"), Purpose: attack.Purpose, Period: "2026", Specification: []byte(spec.Text())})
			return past(err, "FEDERATION_UNKNOWN")
		}},
		{"GetTraining", nil, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Training.GetTraining(ctx, &sandgatev1.GetTrainingRequest{Name: "trainings/none"})
			return err
		}},
		{"ListTrainings", []string{op0, op1, dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Training.ListTrainings(ctx, &sandgatev1.ListTrainingsRequest{})
			return err
		}},
		{"CancelTraining", nil, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Training.CancelTraining(ctx, &sandgatev1.CancelTrainingRequest{Name: "trainings/none"})
			return err
		}},
		{"GetTrainedModel", nil, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Training.GetTrainedModel(ctx, &sandgatev1.GetTrainedModelRequest{Name: "trainings/none"})
			return err
		}},
		{"Judge", []string{dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Node.Judge(ctx, &sandgatev1.JudgeRequest{Trial: "none"})
			return past(err, "TRANSPORT")
		}},
	}
}
