package gateway

import (
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// R39: what dialling again does not mend ends a node by name; a hub that is away or
// restarts does not.
func TestR39_WhatDiallingAgainDoesNotMend(t *testing.T) {
	for text, c := range map[string]struct {
		code codes.Code
		want string
	}{
		"connection refused": {codes.Unavailable, ""},
		"authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority": {codes.Unavailable, "NODE_CERTIFICATE"},
		"remote error: tls: bad certificate": {codes.Unavailable, "NODE_CERTIFICATE"},
		"no such party":                      {codes.PermissionDenied, "NODE_UNKNOWN"},
		"no certificate":                     {codes.Unauthenticated, "NODE_UNKNOWN"},
		"unknown service":                    {codes.Unimplemented, "NODE_NO_HUB"},
		"stopping":                           {codes.Canceled, ""},
		"internal":                           {codes.Internal, ""},
	} {
		err := hopeless(status.Error(c.code, text))
		var refused *Refusal
		got := ""
		if errors.As(err, &refused) {
			got = refused.Reasons[0].Code
		}
		if got != c.want || (err == nil) != (c.want == "") {
			t.Errorf("%s: %q, want %q", text, got, c.want)
		}
	}
}
