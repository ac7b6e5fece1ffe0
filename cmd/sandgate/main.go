// Command sandgate is the one binary of Sandgate: gateway, workers, and the
// tools of operators, departments and regulators.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	_ "github.com/sandgate/sandgate/compute/engine/duckdb"         // registers the worker handlers
	_ "github.com/sandgate/sandgate/compute/engine/ingest/parquet" // lets the ingest worker read Parquet
	"github.com/sandgate/sandgate/sandbox"
)

func main() {
	// A worker never comes back from here, and has done nothing before it.
	sandbox.Main()
	// The log library writes its own progress to standard error; what matters of
	// it comes back as errors.
	klog.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
