package policies

import (
	"strings"
	"testing"
)
