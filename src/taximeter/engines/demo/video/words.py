"""The words that the sketch model knows, English and Chinese, by what they mean in a picture."""

from collections.abc import Mapping

from taximeter.engines.demo.video.colours import COLOURS

# Each line: meaning, then its words.  Multi-word phrases are joined by an underscore; plurals of single English words are understood.
_SUBJECTS = """
cat cat kitten kitty 猫 猫咪 小猫
dog dog puppy 狗 小狗 狗狗
rabbit rabbit bunny hare 兔 兔子 小兔
panda panda 熊猫 大熊猫
bird bird sparrow swallow seagull parrot crane 鸟 小鸟 海鸥 燕子 鹤
butterfly butterfly 蝴蝶
fish fish goldfish 鱼 小鱼 金鱼
whale whale 鲸 鲸鱼
person person man woman boy girl child kid people human girl's traveller 人 男人 女人 男孩 女孩 孩子 小孩 行人 少年 少女
robot robot android 机器人
astronaut astronaut cosmonaut spaceman 宇航员 航天员
horse horse pony stallion 马 小马 骏马
snowman snowman 雪人
starfish starfish 海星
car car automobile sedan 车 汽车 轿车 小车
taxi taxi cab taxicab 出租车 的士
bus bus coach 公交车 巴士 公共汽车
train train locomotive 火车 列车
boat boat ship sailboat yacht sailing_boat 船 帆船 小船 轮船
rocket rocket spaceship spacecraft 火箭 飞船 宇宙飞船
plane plane airplane aeroplane aircraft 飞机
balloon balloon hot_air_balloon 气球 热气球
house house cottage home cabin hut 房子 屋 小屋 房屋
castle castle palace 城堡 宫殿
lighthouse lighthouse 灯塔
umbrella umbrella parasol 伞 雨伞
ball ball football basketball 球 皮球 足球
heart heart love 心 爱心 红心
gift gift present 礼物
cup cup mug coffee tea coffee_cup 杯 杯子 咖啡 茶
lantern lantern 灯笼
tree tree oak 树 大树 树木
pine pine fir christmas_tree pine_tree 松树 圣诞树
palm palm palm_tree 棕榈 棕榈树 椰树
flower flower rose tulip daisy sunflower blossom 花 花朵 玫瑰 向日葵 樱花
cactus cactus cacti 仙人掌
mushroom mushroom 蘑菇
apple apple 苹果
sun sun 太阳 日 红日
moon moon crescent 月 月亮 月牙
full_moon full_moon 满月 圆月
star star 星 星星 繁星
planet planet saturn 行星 星球 土星
cloud cloud 云 云朵 白云
rainbow rainbow 彩虹
mountain mountain hill peak volcano 山 高山 雪山 山峰 火山
"""

_COLOURS = """
red red crimson scarlet 红 红色
orange orange 橙 橙色 橘色
yellow yellow 黄 黄色
green green emerald 绿 绿色
blue blue azure 蓝 蓝色
purple purple violet 紫 紫色
pink pink 粉 粉色 粉红 粉红色
white white 白 白色
black black 黑 黑色
grey grey gray 灰 灰色
brown brown 棕 棕色 褐色
gold gold golden 金 金色
silver silver 银 银色
cyan cyan turquoise 青 青色
teal teal
navy navy
beige beige
"""

_PLACES = """
meadow meadow grass field garden park countryside farm 草地 草原 花园 公园 田野 乡村
sea sea ocean lake river water harbour harbor wave 海 大海 海洋 海面 湖 湖面 河 江 水面 海上
beach beach shore seaside island 海滩 沙滩 海边 岛
underwater underwater deep_sea under_water under_the_sea aquarium 海底 水下 水中
forest forest wood woods jungle 森林 树林 丛林
desert desert dune 沙漠
snow snow snowy winter ice arctic 雪 雪地 冬天 冰 冰雪
city city town street downtown skyline road highway 城市 街道 街 街头 城镇 马路 公路 都市
space space galaxy universe cosmos outer_space 太空 宇宙 星空 银河
sky sky 天空 空中 天上
"""

_TIMES = """
night night midnight nighttime starry dark evening 夜 夜晚 晚上 夜里 深夜 夜空
sunset sunset dusk sunrise dawn twilight 日落 夕阳 黄昏 日出 黎明 傍晚
day day daytime noon morning sunny 白天 早晨 中午 晴天 晴朗
"""

_WEATHER = """
rain rain rainy raining rainstorm storm 雨 下雨 雨天 雨中 大雨
snow snowing snowfall snowflake snowstorm blizzard 下雪 飘雪 雪花 大雪
"""

_MOTIONS = """
drive drive drives driving drove ride rides riding galloping 开 行驶 驾驶 开车 开过
walk walk walks walking run runs running stroll strolls strolling 走 跑 走路 跑步 奔跑 散步 行走
fly fly flies flying flew soar soars soaring glide gliding 飞 飞行 飞翔 飞过 翱翔
fall fall falls falling drop drops dropping 落 掉 落下 飘落 坠落
rise rise rises rising launch launches launching lift_off takes_off ascending 升 升起 上升 发射 起飞
spin spin spins spinning rotate rotates rotating turning twirl twirling 转 旋转 转动
jump jump jumps jumping leap leaps leaping hop hops hopping bounce bounces bouncing dance dances dancing 跳 跳跃 跳舞 蹦
swim swim swims swimming 游 游泳 游动
float float floats floating drift drifts drifting sail sails sailing 漂 漂浮 飘 航行
stay stay sits sitting sit stands standing stand sleeps sleeping sleep parked still resting lying 坐 站 睡 睡觉 停 静止 趴
"""

_PACES = """
fast fast quick quickly rapid rapidly speeding swift 快 快速 飞快 迅速
slow slow slowly gentle gently calm calmly 慢 缓缓 慢慢 缓慢 轻轻
"""

_WAYS = """
right from_left_to_right to_the_right rightward rightwards 向右 往右 从左到右 从左向右
left from_right_to_left to_the_left leftward leftwards 向左 往左 从右到左 从右向左
"""

_COUNTS = """
1 one single 一 一个 一只 一条 一朵 一棵 一辆 一艘 一座 一颗 一位 一轮 一架 一匹 一把 一片 一盏 一栋
2 two pair couple twin 两 二 两个 两只 两条 两朵 两棵 两辆 两艘 两座 两颗 两位 两架 双
3 three 三 三个 三只 三条 三朵 三棵 三辆 三艘 三座 三颗 三位
4 four 四 四个 四只 四条 四朵 四棵 四辆
5 five several some few 五 五个 五只 五条 五朵 五棵 几 几个 几只 一些
6 six 六 六个 六只
7 seven many lots 七 七个 许多 很多
8 eight 八 八个
9 nine 九 九个
10 ten dozens 十 十个
"""

# Words that carry no picture of their own; left out so that they do not become abstract shapes.
_GLUE = """
a an the of in on at over under above below by with and or to from into through across near next beside behind between around along toward
towards is are was were be being been it its his her their there this that these those as for while then up down out off front top bottom
middle left right side very really so big small large little tiny huge giant tall long short old new young happy sad cute beautiful lovely
pretty nice cool warm cold bright soft quiet peaceful colourful colorful realistic cinematic detailed high quality best video clip film
movie animation animated shot scene view wide close closeup camera pan zoom style photo picture image render k hd uhd fps second seconds
show showing shows make create please slow-motion motion light lights back away past who which what where when me my your our you we i he
she they him them two-dimensional flat design art full
的 了 在 着 和 与 及 是 有 上 下 里 中 地 得 过 个 只 条 朵 棵 辆 艘 座 颗 位 轮 架 匹 把 片 盏 栋 幅 大
小 正 正在 一起 上面 下面 旁边 里面 前面 后面 之上 可爱 美丽 漂亮 很 非常 从 向 到 往 穿过 画面 视频 镜头 一个 一幅
去 来 飘着 那 这 它 他 她 们 我 你 请 画
"""


def _table(text: str) -> dict[str, str]:
    table: dict[str, str] = {}
    for line in text.strip().splitlines():
        meaning, *words = line.split()
        for word in words:
            table[word.replace("_", " ")] = meaning
    return table


def _vocabulary() -> dict[str, tuple[str, str]]:
    """Every word with its kind and meaning; earlier kinds win where a word has two."""
    kinds = {
        "way": _WAYS,
        "subject": _SUBJECTS,
        "weather": _WEATHER,
        "time": _TIMES,
        "place": _PLACES,
        "colour": _COLOURS,
        "motion": _MOTIONS,
        "pace": _PACES,
        "count": _COUNTS,
    }
    words: dict[str, tuple[str, str]] = {}
    for kind, text in kinds.items():
        for word, meaning in _table(text).items():
            words.setdefault(word, (kind, meaning))
    for word in _GLUE.split():
        words.setdefault(word, ("glue", ""))
    return words


VOCABULARY: Mapping[str, tuple[str, str]] = _vocabulary()
assert all(meaning in COLOURS for kind, meaning in VOCABULARY.values() if kind == "colour")


def _longest(*, han: bool) -> int:
    if han:
        return max(len(word) for word in VOCABULARY if not word.isascii())
    return max(word.count(" ") + 1 for word in VOCABULARY if word.isascii())


HAN_WORD_MAX = _longest(han=True)
PHRASE_WORDS_MAX = _longest(han=False)

_IRREGULAR = {"mice": "mouse", "wolves": "wolf", "leaves": "leaf", "children": "child", "men": "man", "women": "woman", "geese": "goose"}


def singular(word: str) -> str:
    """The word itself when it is known or not a plural, else its singular form."""
    if word in VOCABULARY:
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    for ending, instead in (("ies", "y"), ("es", ""), ("s", "")):
        stem = word[: -len(ending)] + instead
        if word.endswith(ending) and stem in VOCABULARY:
            return stem
    return word
