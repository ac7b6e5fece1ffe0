package attack

import (
	"testing"

	_ "github.com/sandgate/sandgate/compute/engine/duckdb" // the workers' handlers
)

func TestMain(m *testing.M) { Main(m) }
