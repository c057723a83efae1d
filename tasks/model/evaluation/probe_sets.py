"""The items of the probes of knowledge and language, written for Almanac: everyday prose and general questions.

Every text is our own. `altered_facts` and `safety_sets` hold the others.
"""

GENERAL_TEXTS = (
    "Bread needs four things: flour, water, salt and time. Mix the first three until no dry flour is left, cover "
    "the bowl and leave it overnight. In the morning the dough has doubled and smells faintly sour. Fold it a few "
    "times, shape it into a ball, and bake it in a hot oven until the crust is dark brown and sounds hollow when "
    "you knock.",
    "The last bus to the village left at ten past six, and Marta missed it by half a minute. She stood under the "
    "shelter, shook the rain from her coat and counted her coins. A taxi was out of the question. So she began to "
    "walk along the river, where the lamps made yellow circles on the wet road, and hoped that somebody would stop.",
    "A bicycle chain wears out slowly. Each pin grinds a little in its bushing, and after a few thousand kilometres "
    "the chain is longer than it was when new. A long chain sits badly on the teeth of the cassette and files them "
    "into hooks. Whoever measures the chain twice a year and changes it in time will keep the expensive parts for "
    "years.",
    "Tomatoes like warmth and hate wet leaves. Plant them deep, so that roots can grow from the buried stem, and "
    "tie them to a stake before they fall over. Pinch out the shoots that grow between stem and leaf. Water the "
    "soil, never the plant, and always at the same time of day, because an uneven supply makes the ripe fruit "
    "split.",
    "When two people want the same orange, they may cut it in half and both be unhappy. If they talk first, it may "
    "turn out that one wants the juice and the other the peel for a cake. Good negotiators ask why before they ask "
    "how much. They look for what the other side values more than they do, and they trade it for what matters to "
    "them.",
    "The library opens at nine on weekdays and at eleven on Saturdays. Books may be kept for four weeks and renewed "
    "twice unless another reader is waiting for them. Children under twelve need the signature of a parent. Lost "
    "books are paid for at the price of a new copy, and a small fee is charged for every day that a book is late.",
    "Clouds form when moist air rises and cools. Cold air can hold less water vapour than warm air, so some of it "
    "turns into droplets around tiny grains of dust or salt. Over mountains the wind is forced upwards, which is "
    "why the side that faces the sea is often green and wet, while the valley behind the ridge stays dry for most "
    "of the year.",
    "My grandfather repaired watches at the kitchen table. He had a lamp on a long arm, a glass that he pinched "
    "into one eye, and a tray with many small compartments. We were not allowed to run in that room, nor to sneeze. "
    "When a watch ticked again, he would hold it to each of our ears in turn, as if he were sharing a secret with "
    "us.",
    "A company that sells umbrellas earns little in dry summers. It may answer by selling parasols as well, by "
    "saving part of the profit of wet years, or by asking a bank for credit. Each answer has a price. New products "
    "need designers and shops, savings earn little interest, and the bank wants to be paid back whether it rains or "
    "not.",
    "Before a long hike, tell somebody where you are going and when you mean to be back. Carry more water than you "
    "think you need, a warm layer, a lamp and a paper map, since the battery of a telephone empties quickly in the "
    "cold. Turn around when the weather does. The summit will still be there next week, and so, with some care, "
    "will you.",
    "In chess the opening is a race to bring the pieces into play. Beginners move the same piece again and again, "
    "or send the queen out alone and lose time when she is chased home. A simple plan is better: put a pawn in the "
    "centre, develop the knights and the bishops, bring the king to safety, and only then look for a target.",
    "Sound travels as a wave of pressure. In air it covers about a kilometre in three seconds, in water it is more "
    "than four times as fast, and in steel faster still. That is why people once put an ear to the rail to hear a "
    "train that was far away. Where there is no matter there is nothing to press on, and so the space between stars "
    "is silent.",
)

GENERAL_QUESTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("What is the capital of Italy?", ("Rome",)),
    ("What is the capital of Germany?", ("Berlin",)),
    ("Which city is the capital of Japan?", ("Tokyo",)),
    ("Which planet is known as the red planet?", ("Mars",)),
    ("Who wrote the novel Don Quixote?", ("Cervantes",)),
    ("How many months are there in a year?", ("twelve", "12")),
    ("Which organ pumps blood through the body?", ("heart",)),
    ("What is the hardest natural substance?", ("diamond", "diamonds")),
    ("On which continent is India?", ("Asia",)),
    ("What is frozen water called?", ("ice",)),
    ("Which animal is the tallest on land?", ("giraffe", "giraffes")),
    ("Which animal runs fastest on land?", ("cheetah", "cheetahs")),
    ("In which country are the pyramids of Giza?", ("Egypt",)),
    ("Who developed the theory of relativity?", ("Einstein",)),
    ("Which star does the Earth go around?", ("Sun",)),
    ("How many wheels does a bicycle have?", ("two", "2")),
    ("In which country is the Great Wall?", ("China",)),
    ("Which river flows through London?", ("Thames",)),
    ("Which farm animal gives us wool?", ("sheep",)),
    ("Who discovered penicillin?", ("Fleming",)),
)
"""No chat of `tasks.model.examples.replay` asks one of these: what was replayed would seem to be kept."""
