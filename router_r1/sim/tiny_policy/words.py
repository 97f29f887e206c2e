"""Common English words, as questions and short answers use them: what the tiny policy's open text is made of."""

from __future__ import annotations

WORDS: tuple[str, ...] = tuple(
    """
    a about above academy act actor actress added after age air album all also American an ancient and animal another
    any area army around art as at award away bank band based basketball battle be became because been before began
    being best between big birth black blue board body book books border born both boy bridge British brother brought
    building built business but by called came can capital captain car career cast castle center central century
    champion championship character characters child children church city civil class club coach college color come
    comedy common company composer constitution control council countries country county court created crime cup current
    date daughter day days dead death declaration design did died different director district division do does done
    down drama during each early earth east eastern education eight election empire end energy England English episode
    episodes established European event ever everything famous father feature female festival few fiction field fifth
    fight film films final find first five flag following food football for force forest form former founded four free
    French from front full game games garden general German get girl given gold good government great green ground group
    had half hall happened has have he head heart held her here high highest highway him his historical history hit
    hold home horse hospital host hotel house how human husband if in including Indian industry international into is
    island issue it its Japanese John joined just kind king kingdom known lady lake land language large largest last
    late later law lead leader league left length let library life light like line list listed little live lived local
    located location London long longest lord lost love low made magazine main major make male man many map march market
    married material may me mean meaning meat member members men middle might military million minister miss modern
    money month moon more most mother mountain mouth movie moved much museum music musical my name named names nation
    national nationality natural new New next night nine no north northern not notable novel number numbers occupation
    ocean of off office officer official often oil old on one only open opened opera or order organization original
    origin other our out over own owned owner paid park part party past people performed period person place plant play
    played player players plays point political population port position power present president prime prince produced
    producer professional program province public published queen race radio railway rate real received record red
    region release released religion represent republic resort right rights river road rock role Roman room round royal
    rule ruled run same school science sea season seat second secretary series served service set seven several she
    ship short show shows side since singer single sister site situated six sixth small social society some son song
    songs sound source south southern space Spanish species speed sport spring square stage stand star stars start
    started state states station stone stop store story street student studio style such summer sun super supreme system
    take taken takes team television ten term that the their them then theory there they third this three through time
    times title to today together took top total tower town track trade treaty tree true two type under union United
    university until up upon us use used valley value version very video village voice vote wall war was water way we
    week well went were west western what when where which while white who whole whom whose why wife will win winner
    wins winter with without woman women won word words work works world would write writer written wrote year years
    you young zone Award Band Bay Bill Bob Britain California Canada Charles China Christmas County David Day England
    Europe France George Germany Henry House India Island Italy Jack James Jan Japan Joe June King Lake
    Lee Los Louis March Maria Martin Mary Max Men Michael Miller Moon North October Park Paris Paul Peter Prince Queen
    Red Richard River Robert Rome Rose Russia Saint Sam San School Scott Smith South Spain Star Sun Super Texas Thomas
    Tom Union Van Virginia Wales War Washington West White William Williams Wilson World York
    """.split()
)
