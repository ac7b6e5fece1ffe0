package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

func errTwinSize() error {
	return invalid("TWIN_SIZE", fmt.Sprintf("合成单元数须在 1 到 %d 之间，种子至多 64 字节", syntheticUnits), fmt.Sprintf("the number of synthetic units is 1 to %d and a seed has 64 bytes at most", syntheticUnits))
}

// errExactSize is a draw whose every unit exact mode would have to remember.
func errExactSize() error {
	r := policies.Reason{Code: "TWIN_SIZE", Rule: "twin", SetBy: "sandgate",
		ZH: fmt.Sprintf("精确方式的演练至多 %d 个合成单元", exactUnits), EN: fmt.Sprintf("in exact mode a rehearsal has %d synthetic units at most", exactUnits),
		HintZH: "用 --units 抽取较少的单元", HintEN: "draw fewer with --units"}
	return refusal(r)
}

// drawsBusy is an operator with as many rehearsals before this one as may be.
func drawsBusy() error {
	return refusal(policies.Reason{Code: "BUSY", Rule: "twin", SetBy: "sandgate",
		ZH: "等待抽取或演练的已满；没有扣减", EN: "as many draws or rehearsals wait as may; nothing was charged",
		HintZH: "待前面的演练结束后重试", HintEN: "try again when the ones before have ended"})
}

// drawWaited is why waiting for a draw ended.
func drawWaited(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return drawsBusy()
	}
	return ctx.Err()
}

// drawRefused says to an operator why rows could not be drawn or held. What an ingest
// says to a department, about its file and its old snapshot, would mean nothing to him.
func drawRefused(err error) error {
	var short *engine.TooLarge
	var killed *sandbox.ErrKilled
	var unfit *engine.Refused
	switch {
	case errors.As(err, &short), errors.As(err, &killed) && killed.Cause == sandbox.CauseMemory:
		return refusal(policies.Reason{Code: "TWIN_SIZE", Rule: "memory", SetBy: "sandgate",
			ZH: "合成单元过多，内存放不下；没有扣减", EN: "too many synthetic units for the memory; nothing was charged",
			HintZH: "用 --units 抽取较少的单元；或请网关管理员调大 serve --snapshot-memory", HintEN: "draw fewer with --units, or ask the gateway's administrator for a larger serve --snapshot-memory"})
	case errors.As(err, &unfit):
		return refusal(policies.Reason{Code: "EXECUTION_FAILED", Rule: "twin", SetBy: "sandgate",
			ZH: "由孪生抽取的行不符合目录；没有扣减", EN: "the rows drawn from the twin do not fit the catalogue; nothing was charged",
			HintZH: "请数源部门重新发布孪生", HintEN: "ask the department to publish the twin again"})
	case errors.Is(err, sandbox.ErrBusy), errors.Is(err, context.DeadlineExceeded):
		return drawsBusy()
	case errors.Is(err, sandbox.ErrSpawner):
		return workersDown()
	}
	return err
}
