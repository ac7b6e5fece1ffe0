package masking

// Words is a text in both languages.
type Words struct{ ZH, EN string }

// Declaration is what an operator says of itself: what its result still tells, and
// what it does not protect against. No mask is de-identification in the sense of
// GB/T 37964-2019 on its own.
type Declaration struct {
	Title   Words
	Keeps   Words
	Exposes Words // what it does not protect
}

// Describe returns the declaration of an operator, false for an unknown one.
func Describe(op string) (Declaration, bool) {
	d, ok := declarations[op]
	return d, ok
}

var declarations = map[string]Declaration{
	OpKeep: {Words{"原样", "as it is"},
		Words{"全部内容", "everything"},
		Words{"不提供任何保护", "protects nothing"}},
	OpDrop: {Words{"不入库", "not stored"},
		Words{"只留目录中的列名", "the column's name in the catalogue"},
		Words{"其他列中的相同信息仍在", "the same information in another column stays"}},
	OpNull: {Words{"置空", "NULL"},
		Words{"列名和类型", "the column's name and type"},
		Words{"其他列中的相同信息仍在", "the same information in another column stays"}},
	OpConstant: {Words{"常量", "constant"},
		Words{"是否缺失", "whether the value was missing"},
		Words{"缺失本身若敏感，仍可看出", "missingness shows where it is itself sensitive"}},
	OpPseudonym: {Words{"密钥假名", "keyed pseudonym"},
		Words{"相等关系与出现频次，同一密钥下可关联", "equality and frequency; joins under one key"},
		Words{"频次独特者仍可识别；持有密钥者可枚举还原号码，保护全在密钥", "values of unusual frequency stand out; whoever holds the key can enumerate numbers: the key is the whole protection"}},
	OpYear: {Words{"到年", "year"},
		Words{"年份和先后", "year and order of years"},
		Words{"罕见年份（如高龄者出生年）仍可识别个人", "a rare year, such as the birth of the very old, singles people out"}},
	OpQuarter: {Words{"到季度", "quarter"},
		Words{"年份、季节和先后", "year, season and order"},
		Words{"人少的季度仍可识别个人", "a quarter with few people singles them out"}},
	OpMonth: {Words{"到月", "month"},
		Words{"年月和先后", "year, month and order"},
		Words{"人少的月份仍可识别个人", "a month with few people singles them out"}},
	OpAgeBand: {Words{"年龄段", "age band"},
		Words{"基准日的年龄所在段；出生晚于基准日者计入首段", "the band of the age at the reference date; a later birth counts as age 0"},
		Words{"人少的年龄段仍可识别个人；换基准日重复发布会缩窄出生日期", "a band with few people singles them out; releases at several reference dates narrow the birth date"}},
	OpBand: {Words{"数值分段", "number band"},
		Words{"所在段的下界和先后", "the band's lower edge and order"},
		Words{"首末段的极端值人少时可识别；错开的分段相互求交会缩窄", "extreme bands with few people single them out; shifted bands of another release narrow the value"}},
	OpRound: {Words{"取整", "rounding"},
		Words{"近似值和先后，误差至多半个单位", "the value to half a unit, and order"},
		Words{"罕见大数取整后仍独特", "a rare large value stays unique when rounded"}},
	OpClip: {Words{"上下截尾", "top and bottom coding"},
		Words{"界内的原值", "the exact value between the ends"},
		Words{"界内的值不受保护", "values between the ends are not protected"}},
	OpArea: {Words{"区划前几位", "area code prefix"},
		Words{"省、市或县级区划", "province, prefecture or county"},
		Words{"人口少的区划中仍可识别个人", "people in small areas are singled out"}},
	OpAddress: {Words{"地址到省/市/区县", "address to province, city or district"},
		Words{"所读到的行政区划名称；形似区划的地名不查表核对", "the names of divisions as read; a name shaped like a division is not looked up"},
		Words{"人口少的区划中仍可识别个人；写得不规范的地址可能多留一个形似区县的地名", "people in small areas are singled out; an irregular address may keep one more place name shaped like a district"}},
	OpEmailDomain: {Words{"邮箱域名", "e-mail domain"},
		Words{"@ 后的域名", "the domain behind @"},
		Words{"个人或小单位的域名等于个人", "a personal or small organisation's domain is the person"}},
	OpPlate: {Words{"车牌前缀", "plate prefix"},
		Words{"省份和发牌机关代号", "province and issuing letter"},
		Words{"登记车辆少的机关代号仍可识别", "letters with few vehicles single them out"}},
	OpName: {Words{"姓名显示脱敏", "display mask of names"},
		Words{"姓氏和字数", "surname and length"},
		Words{"罕见姓氏可识别；与手机尾号或区县并列即可识别", "rare surnames stand out; with a phone's last digits or a district it identifies"}},
	OpID: {Words{"身份证号显示脱敏", "display mask of identity numbers"},
		Words{"前六位（区划）、顺序码后两位（含性别）和校验码", "region, the serial's end (sex) and the check character"},
		Words{"是准标识符：校验码把出生日期缩窄到十一分之一", "a quasi-identifier: the check character narrows the birth date to one in eleven"}},
	OpPhone: {Words{"手机号显示脱敏", "display mask of phones"},
		Words{"前三位和后四位", "the first 3 and last 4 digits"},
		Words{"与姓名或区县并列即可识别", "with a name or a district it identifies"}},
	OpCard: {Words{"银行卡显示脱敏", "display mask of cards"},
		Words{"发卡行前六位和后四位", "the issuer's 6 and the last 4 digits"},
		Words{"Luhn 校验把中间各位缩窄到十分之一；13 位卡仅剩一百种", "Luhn's check leaves a tenth of the middle: a hundred candidates of a 13-digit card"}},
	OpNoise: {Words{"数值加噪", "numeric noise"},
		Words{"登记界限内的近似值；界内无偏，多单位的总和与均值大致保留", "an approximate value inside the registered bounds; unbiased away from them, so sums and means over many units roughly stay"},
		Words{"不是差分隐私；同一单位各行加同一偏移，行间差值照旧；特异值仍突出；知其一原值者可推其余；持有密钥者可去噪", "not differential privacy; all rows of a unit get one offset, so differences between them stay; outliers stand out; one known value gives the others; whoever holds the key removes it"}},
	OpResponse: {Words{"随机化应答", "randomised response"},
		Words{"按登记概率保留代码；总体分布可由该概率还原", "the code with the registered probability; the distribution can be estimated with it"},
		Words{"保留概率高时单值多半为真；多列并列时不独立", "with a high probability most values are true; several columns together narrow it"}},
	OpShuffle: {Words{"组内置换", "shuffle within groups"},
		Words{"每组该列取值的全体和频次", "all values of the column in each group, and how often each occurs"},
		Words{"组内同值或极端值仍归于该组；与其他列的对应被打断，但组内取值单一者等于未脱敏；取值依赖他人的行，差分隐私不涵盖", "values that a whole group shares, and extremes, still belong to the group; a group of one value is not masked; values depend on other people's rows, which differential privacy does not cover"}},
	OpKAnonymous: {Words{"k-匿名泛化", "k-anonymous generalisation"},
		Words{"准标识符泛化后的取值；每个等价类至少 k 个隐私单元", "generalised quasi-identifiers; every class has at least k privacy units"},
		Words{"类内敏感值相同即可推出（无 l-多样性）；背景知识；登记以外的列；多次入库的结果求交；取值依赖他人的行，差分隐私不涵盖", "a sensitive value that a class shares (no l-diversity); background knowledge; columns not registered; intersecting several ingests; values depend on other people's rows, which differential privacy does not cover"}},
}
