package gateway_test

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/client"
)

// modelCalls are the lines of the role matrix about models.
func modelCalls() []struct {
	name    string
	allowed []string
	denied  codes.Code
	call    func(ctx context.Context, c *client.Client, as string) error
} {
	op0, op1, dept, dept2, bureau := attack.Op(0), attack.Op(1), attack.Department, attack.Other, attack.Regulator
	operators := []string{op0, op1}
	return []struct {
		name    string
		allowed []string
		denied  codes.Code
		call    func(ctx context.Context, c *client.Client, as string) error
	}{
		{"ExplainModel", operators, codes.PermissionDenied, func(ctx context.Context, c *client.Client, as string) error {
			_, err := c.Model.ExplainModel(ctx, &sandgatev1.ExplainModelRequest{Licence: attack.LicenceID(as, "roles"), Purpose: attack.Purpose, Product: "none"})
			return err
		}},
		{"TrainModel", operators, codes.PermissionDenied, func(ctx context.Context, c *client.Client, as string) error {
			_, err := c.Model.TrainModel(ctx, &sandgatev1.TrainModelRequest{RequestId: uuid.NewString(), Licence: attack.LicenceID(as, "roles"), Purpose: attack.Purpose, Product: "none"})
			if attack.Reason(err) == "JOB_KIND_NOT_LICENSED" {
				return nil // past the door
			}
			return err
		}},
		{"GetModel", nil, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Model.GetModel(ctx, &sandgatev1.GetModelRequest{Name: "models/none"})
			return err
		}},
		{"GetModelCertificate", nil, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Model.GetModelCertificate(ctx, &sandgatev1.GetModelCertificateRequest{Name: "models/none"})
			return err
		}},
		{"CancelModel", nil, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Model.CancelModel(ctx, &sandgatev1.CancelModelRequest{Name: "models/none"})
			return err
		}},
		{"ListModels", []string{op0, op1, dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, as string) error {
			_, err := c.Model.ListModels(ctx, &sandgatev1.ListModelsRequest{})
			return err
		}},
		{"DownloadModel", operators, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Model.DownloadModel(ctx, &sandgatev1.DownloadModelRequest{Name: "models/none"})
			if attack.Reason(err) == "MODEL_UNKNOWN" {
				return nil // past the door
			}
			return err
		}},
		{"UploadModule", operators, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.UploadModule(ctx, "none", strings.NewReader("\x00asm"))
			if attack.Reason(err) == "PRODUCT_UNKNOWN" {
				return nil // past the door
			}
			return err
		}},
		{"GetModelInputs", operators, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Inputs(ctx, "models/none")
			if attack.Reason(err) == "MODEL_UNKNOWN" {
				return nil // past the door
			}
			return err
		}},
		{"ScoreEncrypted", operators, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			stream, err := c.Model.ScoreEncrypted(ctx)
			if err != nil {
				return err
			}
			if err := stream.Send(&sandgatev1.ScoreEncryptedRequest{RequestId: uuid.NewString(), Name: "models/none", Rows: 1}); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			_, err = stream.Recv()
			if attack.Reason(err) == "MODEL_UNKNOWN" {
				return nil // past the door
			}
			return err
		}},
		{"ScoreModel", operators, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Model.ScoreModel(ctx, &sandgatev1.ScoreModelRequest{RequestId: uuid.NewString(), Name: "models/none", Columns: []string{"x"}, Rows: []*sandgatev1.ModelRow{{Values: []string{"1"}}}})
			if attack.Reason(err) == "MODEL_UNKNOWN" {
				return nil // past the door
			}
			return err
		}},
	}
}
