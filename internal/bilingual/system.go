package bilingual

import "strings"

// system is what the operating system and the libraries say most often. It stands at
// the end of their errors, behind what it is about.
var system = []struct{ english, chinese string }{
	{"no such file or directory", "文件或目录不存在"}, {"file does not exist", "文件或目录不存在"}, {"permission denied", "没有权限"}, {"is a directory", "是目录，不是文件"},
	{"not a directory", "不是目录"}, {"file exists", "已存在"}, {"file already exists", "已存在"}, {"no space left on device", "磁盘已满"}, {"read-only file system", "文件系统只读"},
	{"directory not empty", "目录不为空"}, {"too many open files", "打开的文件过多"}, {"address already in use", "地址已被占用"}, {"cannot assign requested address", "本机没有该地址"},
	{"connection refused", "连接被拒绝"}, {"connection reset by peer", "连接被对方中断"}, {"no such host", "没有该主机"}, {"no route to host", "无法到达该主机"},
	{"missing port in address", "地址缺少端口"}, {"i/o timeout", "超时"},
	{"context canceled", "已取消"}, {"context deadline exceeded", "超过时限"}, {"signal: killed", "已被终止"},
	{"unexpected EOF", "内容不完整"}, {"EOF", "内容不完整"}, {"unexpected end of JSON input", "JSON 不完整"},
	{"resource temporarily unavailable", "正被另一程序使用"},
}

// ofSystem translates the end of an error's text.
func ofSystem(text string) string {
	bare := strings.TrimRight(text, `"`)
	for _, x := range system {
		if front, ok := strings.CutSuffix(bare, x.english); ok && (front == "" || strings.HasSuffix(front, " ")) {
			return front + x.chinese + text[len(bare):]
		}
	}
	return text
}
