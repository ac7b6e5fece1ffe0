package gateway_test

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/client"
)

// twinCalls are the lines of the role matrix about synthetic twins.
func twinCalls() []struct {
	name    string
	allowed []string
	denied  codes.Code
	call    func(ctx context.Context, c *client.Client, as string) error
} {
	op0, op1, dept, dept2, bureau := attack.Op(0), attack.Op(1), attack.Department, attack.Other, attack.Regulator
	// past is an error from behind the door.
	past := func(err error, code string) error {
		if attack.Reason(err) == code {
			return nil
		}
		return err
	}
	return []struct {
		name    string
		allowed []string
		denied  codes.Code
		call    func(ctx context.Context, c *client.Client, as string) error
	}{
		{"PublishTwin", []string{dept}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Twin.PublishTwin(ctx, &sandgatev1.PublishTwinRequest{RequestId: uuid.NewString(), Dataset: "roles", Rho: "0.01"})
			return past(err, "TWIN_NOT_ALLOWED")
		}},
		{"GetTwin", []string{op0, op1, dept, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Twin.GetTwin(ctx, &sandgatev1.GetTwinRequest{Name: "datasets/roles"})
			return past(err, "TWIN_NONE")
		}},
		{"ListTwins", []string{op0, op1, dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Twin.ListTwins(ctx, &sandgatev1.ListTwinsRequest{})
			return err
		}},
		{"DownloadTwin", []string{op0, op1, dept, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Twin.DownloadTwin(ctx, &sandgatev1.DownloadTwinRequest{Name: "datasets/roles"})
			return past(err, "TWIN_NONE")
		}},
	}
}
