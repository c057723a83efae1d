"""Questions about other worlds: what an index scores for them is what it scores where it holds nothing.

Each refresh asks them of the new index (`tasks.answer.calibration`). Subjects are many, so that documents about one of
them (a cookery book, a clinic's handbook) meet a few questions that they can answer, not a tenth of them.
"""

_QUESTIONS = """
Who won the football world cup in 1998?
What is the offside rule in football?
How many players are on a rugby team?
What is the best way to train for a marathon?
How do I bake a sourdough bread?
How long should I boil an egg?
What spices go into a garam masala?
Can I replace butter with olive oil in a cake?
When did the Roman Empire fall?
Who was the first king of England?
What caused the French Revolution?
Which treaty ended the First World War?
What are the symptoms of appendicitis?
How is type 2 diabetes treated?
What is a normal blood pressure for adults?
Is ibuprofen safe during pregnancy?
What is the capital of Australia?
How tall is Mount Everest?
Which river flows through Vienna?
How do I prune apple trees in winter?
When should I plant tulips?
How do I get rid of slugs in the garden?
What is the plot of Hamlet?
Who painted the Mona Lisa?
Which instruments play in a string quartet?
How do I tune a violin?
What is the speed of light?
How do black holes form?
Why is the sky blue?
What do pandas eat?
How long do pythons live in the wild?
What should I feed a kitten?
How do I change a flat bicycle tyre?
How much does a new Toyota Corolla cost?
What time does the train to Salzburg leave?
What is the interest rate of the European Central Bank?
How do I file my income tax in Germany?
Which visa do I need for travelling to Japan?
How do I sleep better at night?
How do I knit a scarf?
Who is the president of France?
What happened in Berlin in November 1989?
How do I remove red wine stains from a carpet?
Which wine goes with grilled salmon?
How do I propose to my girlfriend?
Which prayers are said on a Friday?
How do I win a chess endgame with rook and pawn?
What did Kant mean by the categorical imperative?
"""
OTHER_SUBJECTS = tuple(_QUESTIONS.strip().splitlines())
