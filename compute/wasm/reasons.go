package wasm

import (
	"fmt"

	"github.com/sandgate/sandgate/policies"
)

// Codes of refusals. The first group is Check's, the second of compiling and
// running.
const (
	CodeTooLarge  = "WASM_TOO_LARGE"
	CodeMalformed = "WASM_MALFORMED"
	CodeImport    = "WASM_IMPORT"
	CodeStart     = "WASM_START"
	CodeFeature   = "WASM_FEATURE"
	CodeLimit     = "WASM_LIMIT"
	CodeMemory    = "WASM_MEMORY"
	CodeExport    = "WASM_EXPORT"

	CodeInvalid     = "WASM_INVALID"
	CodeABI         = "WASM_ABI"
	CodeCompileTime = "WASM_COMPILE_TIMEOUT"
	CodeBatchTime   = "WASM_BATCH_TIMEOUT"
	CodeWall        = "WASM_TIMEOUT"
	CodeOutOfMemory = "WASM_OUT_OF_MEMORY"
	CodeTrap        = "WASM_TRAP"
	CodeAlloc       = "WASM_ALLOC"
	CodeLength      = "WASM_WRONG_LENGTH"
	CodeGuest       = "WASM_GUEST_ERROR"
	CodeUnstable    = "WASM_UNSTABLE"
	CodeOutput      = "WASM_OUTPUT_CAP"
	CodeCrashed     = "WASM_CRASHED"
	CodeBatch       = "WASM_BATCH"
)

// wording is what a code says, and what would be allowed.
type wording struct{ zh, en, hintZh, hintEn string }

var wordings = map[string]wording{
	CodeTooLarge:    {"模块为 %d 字节，超过上限 %d 字节", "the module has %d bytes; the limit is %d", "去掉调试信息（--strip-all）与不用的代码", "strip debug information (--strip-all) and unused code"},
	CodeMalformed:   {"字节 %d 处不是有效的 WebAssembly：%s", "not valid WebAssembly at byte %d: %s", "确认文件是编译所得的 .wasm（二进制，不是 .wat 文本）", "check that the file is a compiled .wasm (binary, not .wat text)"},
	CodeImport:      {"模块需要导入第 1 项 %s（共 %d 项）；这里什么也不提供", "the module imports %[2]d things, the first being %[1]s; nothing is provided here", "以无 WASI、无标准库输入输出的方式编译，见 docs/wasm.md", "compile without WASI and without input or output of a standard library, see docs/wasm.md"},
	CodeStart:       {"模块有 start 函数", "the module has a start function", "AssemblyScript 用 --exportStart _initialize；_initialize 由宿主在每个实例中调用", "with AssemblyScript use --exportStart _initialize; the host calls _initialize in every instance"},
	CodeFeature:     {"字节 %d 处使用了不允许的特性：%s", "a feature that is not allowed is used at byte %d: %s", "只允许 WebAssembly 2.0：不含线程、宽松 SIMD、尾调用、异常、GC、64 位内存", "WebAssembly 2.0 is allowed, without threads, relaxed SIMD, tail calls, exceptions, GC and 64-bit memory"},
	CodeLimit:       {"%[1]s 超过上限 %[2]d", "%[3]s exceed the limit of %[2]d", "缩小模块，或把模型拆成数据段里的表", "make the module smaller, or keep the model as a table in a data segment"},
	CodeMemory:      {"内存声明不符：%s", "the memory declaration does not fit: %s", "声明恰好一块内存，并给出不超过上限的最大值：clang 用 -Wl,--max-memory=字节数，AssemblyScript 用 --maximumMemory 页数", "declare exactly one memory with a maximum within the limit: clang -Wl,--max-memory=BYTES, AssemblyScript --maximumMemory PAGES"},
	CodeExport:      {"导出不符：%s", "the exports do not fit: %s", "导出 memory、sandgate_abi、sandgate_column、sandgate_alloc、sandgate_score，可选 _initialize，类型见 docs/wasm.md", "export memory, sandgate_abi, sandgate_column, sandgate_alloc, sandgate_score and optionally _initialize, with the types of docs/wasm.md"},
	CodeInvalid:     {"模块未通过 WebAssembly 验证", "the module does not pass WebAssembly validation", "用 wasm-validate 或编译器自带工具检查", "check it with wasm-validate or the compiler's own tools"},
	CodeABI:         {"模块的 ABI 版本或列声明不符", "the module's ABI version or column declaration does not fit", "sandgate_abi 须返回 1；sandgate_column 依次给出 1–64 个输入、1–16 个输出，之后返回 0", "sandgate_abi must answer 1; sandgate_column must list 1–64 inputs, then 1–16 outputs, then 0"},
	CodeCompileTime: {"编译与列声明超过 %v", "compiling and asking for the columns took longer than %v", "缩小模块或拆分过大的函数，检查 _initialize 与 sandgate_column；或用 --compile-timeout 放宽", "make the module smaller or split very large functions, look at _initialize and sandgate_column, or allow more with --compile-timeout"},
	CodeBatchTime:   {"一个批次超过 %v", "one batch took longer than %v", "检查是否有死循环；或用 --batch-timeout 放宽", "look for an endless loop, or allow more with --batch-timeout"},
	CodeWall:        {"运行总时长超过 %v", "the whole run took longer than %v", "减少行数，或用 --timeout 放宽", "score fewer rows, or allow more with --timeout"},
	CodeOutOfMemory: {"模块用尽了内存", "the module ran out of memory", "减少内存使用，或用 --memory 放宽", "use less memory, or allow more with --memory"},
	CodeTrap:        {"模块在运行中出错：%s", "the module trapped: %s", "修正模块；空值行的有效位为 0，其值为 0 或空文本", "mend the module; a missing value has validity 0 and the value 0 or the empty text"},
	CodeAlloc:       {"sandgate_alloc 没有给出可用的内存", "sandgate_alloc gave no usable memory", "返回按 8 字节对齐、整块位于内存之内的地址；声明的最大内存须容得下一个批次", "return an address aligned to 8 bytes with the whole block inside memory; the declared maximum must hold a batch"},
	CodeLength:      {"sandgate_score 处理的行数与批次不符", "sandgate_score scored another number of rows than the batch has", "返回批次的行数；没有得分的行清除其有效位", "return the batch's number of rows; clear the validity bit of a row without a score"},
	CodeGuest:       {"模块报告错误 %d", "the module reports error %d", "错误码由模块自己定义", "the number is the module's own"},
	CodeUnstable:    {"同一批次两次运行的结果不同", "two runs over the same batch gave different results", "得分只能取决于输入", "scores may depend on the input alone"},
	CodeOutput:      {"输出超过上限 %d 字节", "the output exceeds the limit of %d bytes", "分批运行，或用 --max-output 放宽", "score fewer rows at a time, or allow more with --max-output"},
	CodeCrashed:     {"隔离的工作进程意外结束", "the jailed worker ended unexpectedly", "可用 --interpreter 再试；若仍出现请报告此模块", "try --interpreter; if it persists, report the module"},
	CodeBatch:       {"有一行放不进一个批次", "a row does not fit into a batch", "单个文本最长约 4 MiB", "a single text may have about 4 MiB"},
}

// trapNames are the traps a worker may name.
var trapNames = []string{
	"unreachable", "out of bounds memory access", "integer divide by zero", "integer overflow", "invalid conversion to integer",
	"stack overflow", "invalid table access", "indirect call type mismatch", "other trap",
}

// refuse builds the reason of a code.
func refuse(code string, args ...any) *policies.Reason {
	w, ok := wordings[code]
	if !ok {
		w, code = wordings[CodeCrashed], CodeCrashed
		args = nil
	}
	format := func(s string) string {
		if len(args) == 0 {
			return s
		}
		return fmt.Sprintf(s, args...)
	}
	return &policies.Reason{Code: code, Rule: "wasm abi 1", SetBy: "sandgate", ZH: format(w.zh), EN: format(w.en), HintZH: w.hintZh, HintEN: w.hintEn}
}
