package client

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/gateway/node"
)

// hubPings is how often a quiet connection to a hub is tried. A server takes more than
// one in five minutes for an attack.
const hubPings = 6 * time.Minute

// Hub dials the hub of aggregation rounds with a kit that it issued; server overrides the
// kit's address when not empty. The connection is made, and made again, when it is used.
func Hub(kit *home.Kit, server string) (node.Carrier, func() error, error) {
	conf, err := kit.TLS()
	if err != nil {
		return nil, nil, err
	}
	if server == "" {
		server = kit.Server
	}
	if server == "" {
		return nil, nil, texts.Errorf("no gateway address: the kit names none; pass --hub HOST:PORT")
	}
	conn, err := grpc.NewClient(server, grpc.WithTransportCredentials(credentials.NewTLS(conf)), grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: hubPings}))
	if err != nil {
		return nil, nil, texts.Errorf("failed to dial gateway: %w", err)
	}
	return node.Remote(conn), conn.Close, nil
}
