package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/sealed"
	"github.com/sandgate/sandgate/policies"
)

// swapping says whether the machine may write memory to a disk.
func swapping() bool {
	text, err := os.ReadFile("/proc/swaps")
	return err == nil && strings.Count(string(text), "\n") > 1 // the first line is a heading
}

// hold sets memory aside for the snapshots of a job before it is charged, so that
// want of memory never costs a budget. No data is read.
func (d *Domain) hold(ctx context.Context, p *prepared) error {
	if p.lease != nil {
		return nil
	}
	if err := d.isLeaving(p.query.Core.Datasets()...); err != nil {
		return err
	}
	if err := d.exactReady(p); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d.opt.Wall)
	defer cancel()
	var err error
	p.lease, err = d.store.Lease(ctx, p.snaps)
	return leaseRefused(err)
}

// leaseRefused renders want of memory: sizes of files in MiB, no data.
func leaseRefused(err error) error {
	var short *engine.TooLarge
	var confined *engine.Confined
	switch {
	case errors.As(err, &confined):
		return refusal(confinedRefused(confined, "本次不扣减预算", "nothing is charged for this"))
	case errors.Is(err, sealed.ErrKeysAway):
		return keysAway()
	case errors.As(err, &short) && short.Volume:
		return refusal(policies.Reason{Code: "VOLUME_FULL", Rule: "memory", SetBy: "sandgate",
			ZH:     fmt.Sprintf("大快照卷空间不足：需要 %d MiB，剩余 %d MiB；本次不扣减预算", mib(short.Need), mib(short.Limit)),
			EN:     fmt.Sprintf("the volume for large snapshots is full: %d MiB needed, %d MiB free; nothing is charged for this", mib(short.Need), mib(short.Limit)),
			HintZH: "请网关管理员清理或扩大 serve --large-snapshots 所在的卷", HintEN: "ask the gateway's administrator for room on the volume of serve --large-snapshots"})
	case errors.As(err, &short):
		return refusal(policies.Reason{Code: "SNAPSHOT_TOO_LARGE", Rule: "memory", SetBy: "sandgate",
			ZH:     fmt.Sprintf("快照需要内存 %d MiB，网关上限为 %d MiB；本次不扣减预算", mib(short.Need), mib(short.Limit)),
			EN:     fmt.Sprintf("the snapshots need %d MiB of memory and the gateway allows %d MiB; nothing is charged for this", mib(short.Need), mib(short.Limit)),
			HintZH: "请网关管理员调大 serve --snapshot-memory", HintEN: "ask the gateway's administrator for a larger serve --snapshot-memory"})
	case errors.Is(err, context.DeadlineExceeded):
		return refusal(policies.Reason{Code: "BUSY", Rule: "memory", SetBy: "sandgate",
			ZH: "快照内存被其他作业占用；本次不扣减预算", EN: "other jobs hold the memory for snapshots; nothing is charged for this",
			HintZH: "请稍后用同一 request_id 重试", HintEN: "retry later with the same request_id"})
	case err != nil && !errors.Is(err, context.Canceled):
		return refusal(policies.Reason{Code: "SNAPSHOT_DAMAGED", Rule: "snapshot", SetBy: "sandgate",
			ZH: "数据快照的说明或密钥缺失或损坏，未予使用；本次不扣减预算", EN: "the manifest or the key of a snapshot is missing or damaged, so it is not used; nothing is charged for this",
			HintZH: "请网关管理员从备份恢复 snapshots 目录，或请数源部门重新入库", HintEN: "have the gateway's administrator restore the directory snapshots of its home from backup, or the department ingest again"})
	}
	return err
}

func ingestTooLarge(short *engine.TooLarge) policies.Reason {
	if short.Volume {
		return policies.Reason{Code: "VOLUME_FULL", Rule: "memory", SetBy: "sandgate",
			ZH:     fmt.Sprintf("大快照卷空间不足，原快照不变：需要 %d MiB，剩余 %d MiB", mib(short.Need), mib(short.Limit)),
			EN:     fmt.Sprintf("the volume for large snapshots is full, the old snapshot stands: %d MiB needed, %d MiB free", mib(short.Need), mib(short.Limit)),
			HintZH: "请网关管理员清理或扩大 serve --large-snapshots 所在的卷", HintEN: "ask the gateway's administrator for room on the volume of serve --large-snapshots"}
	}
	return policies.Reason{Code: "INGEST_TOO_LARGE", Rule: "memory", SetBy: "sandgate",
		ZH: fmt.Sprintf("入库内存不足，原快照不变：至少需要 %d MiB，上限 %d MiB，其中 %d MiB 正被其他作业占用", mib(short.Need), mib(short.Limit), mib(short.InUse)),
		EN: fmt.Sprintf("not enough memory to ingest, the old snapshot stands: at least %d MiB needed, %d MiB allowed, %d MiB of it held by other work",
			mib(short.Need), mib(short.Limit), mib(short.InUse)),
		HintZH: "稍后重试、拆分数据集，或请网关管理员调大 serve --snapshot-memory", HintEN: "try again later, split the data set, or ask the gateway's administrator for a larger serve --snapshot-memory"}
}

// mib rounds up.
func mib(n int64) int64 { return (n + 1<<20 - 1) >> 20 }
