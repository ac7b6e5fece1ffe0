module github.com/sandgate/sandgate

go 1.26.0

require (
	filippo.io/age v1.3.2
	filippo.io/torchwood v0.8.0
	github.com/apache/arrow-go/v18 v18.5.1
	github.com/cedar-policy/cedar-go v1.9.0
	github.com/duckdb/duckdb-go/v2 v2.10505.0
	github.com/rogpeppe/go-internal v1.16.0
	github.com/spf13/cobra v1.10.2
	github.com/transparency-dev/tessera v1.0.4
	golang.org/x/mod v0.42.0
	google.golang.org/grpc v1.85.0
)
