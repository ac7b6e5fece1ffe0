package city

import "strings"

// districts of 砂门市, the unassigned prefecture 2399. Weight is the share of
// residents, price the typical yuan per square metre of a flat.
var districts = []struct {
	code, name, region string
	weight, price      int
}{
	{"239902", "东门区", "城区", 260, 5200},
	{"239903", "砂北区", "城区", 190, 4600},
	{"239905", "石桥区", "城区", 130, 4100},
	{"239906", "银河区", "城区", 70, 3900},
	{"239921", "白鹭县", "县域", 140, 3400},
	{"239922", "柳塘县", "县域", 100, 3100},
	{"239923", "松岭县", "县域", 70, 2900},
	{"239924", "乌沙县", "县域", 40, 2600},
}

// otherDistrict is the code of the catalogue for codes that are not on the list.
const otherDistrict = "239999"

var districtWeights = func() weighted {
	w := make([]int, len(districts))
	for i, d := range districts {
		w[i] = d.weight
	}
	return newWeighted(w...)
}()

// industries are the sections of GB/T 4754 with their share of enterprises and
// their wage level in percent of the city's.
var industries = []struct {
	letter       string
	weight, wage int
}{
	{"A", 60, 70}, {"B", 25, 125}, {"C", 130, 100}, {"D", 12, 130}, {"E", 70, 95},
	{"F", 260, 85}, {"G", 55, 100}, {"H", 75, 75}, {"I", 45, 140}, {"J", 15, 160},
	{"K", 30, 105}, {"L", 65, 95}, {"M", 40, 125}, {"N", 12, 80}, {"O", 50, 70},
	{"P", 20, 115}, {"Q", 14, 120}, {"R", 14, 85}, {"S", 8, 110}, {"T", 1, 120},
}

var industryWeights = func() weighted {
	w := make([]int, len(industries))
	for i, v := range industries {
		w[i] = v.weight
	}
	return newWeighted(w...)
}()

var (
	surnames = strings.Fields("王 李 张 刘 陈 杨 赵 黄 周 吴 徐 孙 马 朱 胡 郭 何 高 林 罗 郑 梁 谢 宋 唐 许 韩 冯 邓 曹 " +
		"彭 曾 肖 田 董 袁 潘 于 蒋 蔡 余 杜 叶 程 苏 魏 吕 丁 任 沈 姚 卢 姜 崔 钟 谭 陆 汪 范 金 " +
		"欧阳 司马 上官 诸葛 慕容 皇甫")
	givens = strings.Fields("伟 芳 娜 敏 静 丽 强 磊 军 洋 勇 艳 杰 娟 涛 明 超 秀 霞 平 刚 桂 英 华 玉 兰 红 建 国 文 " +
		"志 海 春 雪 梅 晓 宇 欣 怡 浩 然 子 涵 梓 轩 雨 佳 俊 博 思 远 山 林 鹏 飞 龙 凤 云 天 成")
	streets  = strings.Fields("解放路 煤城街 新砂路 铁西街 向阳路 北站街 林海路 友谊街 滨河路 矿工街 师范路 民主街 石桥路 望江街")
	trades   = strings.Fields("煤业 农业 粮油 建材 商贸 物流 餐饮 信息技术 置业 机械 木业 环保 文化 咨询 医药 纺织")
	brands   = strings.Fields("龙砂 北望 金石 瑞丰 恒泰 宏远 天成 白鹭 松岭 鑫源 华砂 远东 佳和 同创 百川 新域")
	forms    = strings.Fields("有限公司 有限责任公司 股份有限公司 合作社 经营部")
	surnameZ = newZipf(len(surnames), 3)
	givenZ   = newZipf(len(givens), 8)
)
