package gateway_test

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/client"
)

// relationsCalls are the lines of the role matrix about relations between twins.
func relationsCalls() []struct {
	name    string
	allowed []string
	denied  codes.Code
	call    func(ctx context.Context, c *client.Client, as string) error
} {
	op0, op1, dept, dept2, bureau := attack.Op(0), attack.Op(1), attack.Department, attack.Other, attack.Regulator
	// past is an error from behind the door.
	past := func(err error, codes ...string) error {
		for _, code := range codes {
			if attack.Reason(err) == code {
				return nil
			}
		}
		return err
	}
	return []struct {
		name    string
		allowed []string
		denied  codes.Code
		call    func(ctx context.Context, c *client.Client, as string) error
	}{
		// Behind the door a department is told that its rule lets nothing be tied, or that none is its own.
		{"RelateTwins", []string{dept, dept2}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Relations.RelateTwins(ctx, &sandgatev1.RelateTwinsRequest{RequestId: uuid.NewString(), Tables: []*sandgatev1.RelatedTable{{Dataset: "other"}, {Dataset: "roles"}}, Rho: "0.01"})
			return past(err, "TWIN_NOT_ALLOWED", "DATASET_UNKNOWN")
		}},
		{"GetRelations", []string{op0, op1, dept, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Relations.GetRelations(ctx, &sandgatev1.GetRelationsRequest{Name: "datasets/roles"})
			return past(err, "RELATIONS_NONE")
		}},
		{"ListRelations", []string{op0, op1, dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Relations.ListRelations(ctx, &sandgatev1.ListRelationsRequest{})
			return err
		}},
		{"DownloadRelations", []string{op0, op1, dept, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Relations.DownloadRelations(ctx, &sandgatev1.DownloadRelationsRequest{Name: "datasets/roles"})
			return past(err, "RELATIONS_NONE")
		}},
	}
}
