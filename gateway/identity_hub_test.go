package gateway_test

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/client"
)

// hubCalls are the lines of the role matrix about rounds across domains.
func hubCalls() []struct {
	name    string
	allowed []string
	denied  codes.Code
	call    func(ctx context.Context, c *client.Client, as string) error
} {
	op0, op1, dept, dept2, bureau := attack.Op(0), attack.Op(1), attack.Department, attack.Other, attack.Regulator
	operators, nodes := []string{op0, op1}, []string{dept, dept2, bureau}
	past := func(err error, reason string) error {
		if attack.Reason(err) == reason {
			return nil // past the door
		}
		return err
	}
	return []struct {
		name    string
		allowed []string
		denied  codes.Code
		call    func(ctx context.Context, c *client.Client, as string) error
	}{
		{"ProposeRound", operators, codes.PermissionDenied, func(ctx context.Context, c *client.Client, as string) error {
			_, err := c.Round.ProposeRound(ctx, &sandgatev1.ProposeRoundRequest{RequestId: uuid.NewString(), Region: "none", Licence: attack.LicenceID(as, "roles"), Purpose: attack.Purpose, Period: "2026", Sql: "SELECT COUNT(*) AS n FROM roles"})
			return past(err, "FEDERATION_UNKNOWN")
		}},
		{"GetRound", nil, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Round.GetRound(ctx, &sandgatev1.GetRoundRequest{Name: "rounds/none"})
			return err
		}},
		{"ListRounds", []string{op0, op1, dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Round.ListRounds(ctx, &sandgatev1.ListRoundsRequest{})
			return err
		}},
		{"CancelRound", nil, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Round.CancelRound(ctx, &sandgatev1.CancelRoundRequest{Name: "rounds/none"})
			return err
		}},
		{"GetRoundRelease", nil, codes.NotFound, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Round.GetRoundRelease(ctx, &sandgatev1.GetRoundReleaseRequest{Name: "rounds/none"})
			return err
		}},
		{"GetHub", []string{op0, op1, dept, dept2, bureau}, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Round.GetHub(ctx, &sandgatev1.GetHubRequest{})
			return err
		}},
		{"Attend", nodes, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
			defer cancel()
			s, err := c.Node.Attend(ctx, &sandgatev1.AttendRequest{})
			if err == nil {
				_, err = s.Recv()
			}
			if status.Code(err) == codes.DeadlineExceeded {
				return nil // let in, and told nothing: there is no round
			}
			return err
		}},
		{"Say", nodes, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Node.Say(ctx, &sandgatev1.SayRequest{Session: "none"})
			return past(err, "TRANSPORT")
		}},
		{"Attach", nodes, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Node.Attach(ctx, &sandgatev1.AttachRequest{Session: "none"})
			return past(err, "TRANSPORT")
		}},
		{"Deliver", nodes, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			_, err := c.Node.Deliver(ctx, &sandgatev1.DeliverRequest{Session: "none"})
			return past(err, "TRANSPORT")
		}},
		{"SendParts", nodes, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			s, err := c.Node.SendParts(ctx)
			if err != nil {
				return err
			}
			if err := s.Send(&sandgatev1.SendPartsRequest{Content: &sandgatev1.SendPartsRequest_Stream{Stream: &sandgatev1.PartStream{Session: "none"}}}); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			_, err = s.CloseAndRecv()
			return past(err, "TRANSPORT")
		}},
		{"FetchParts", nodes, codes.PermissionDenied, func(ctx context.Context, c *client.Client, _ string) error {
			s, err := c.Node.FetchParts(ctx, &sandgatev1.FetchPartsRequest{Stream: &sandgatev1.PartStream{Session: "none"}})
			if err == nil {
				_, err = s.Recv()
			}
			return past(err, "TRANSPORT")
		}},
	}
}
