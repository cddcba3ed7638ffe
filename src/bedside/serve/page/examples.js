// Example cases. All are invented, and none is of a real patient.

export const EXAMPLES = [
  {
    title: "Always cold and tired",
    text: "A 46-year-old woman has been tired for six months. She is cold when others are not, has gained 5 kg and is " +
      "constipated. Pulse 56/min, blood pressure 138/92 mmHg, dry skin, ankle reflexes that relax slowly. TSH 38 mU/l " +
      "(0.4 to 4.0), free T4 6 pmol/l (10 to 22). What is the diagnosis, and how is it treated?",
  },
  {
    title: "A painful toe at night",
    text: "A 58-year-old man wakes at night with a red, hot and very painful swelling at the base of his right big toe. " +
      "He takes hydrochlorothiazide for high blood pressure, and drank several beers at a wedding the day before. " +
      "Temperature 37.6 °C. It is his first attack. What is most likely, what must not be missed, and how is it proved?",
  },
  {
    title: "Breathless after a flight",
    text: "A 34-year-old woman has been short of breath since this morning, with a stabbing pain on the right when she " +
      "breathes in. She takes a combined contraceptive pill and came off a ten-hour flight two days ago. Pulse 112/min, " +
      "respiratory rate 22/min, SpO2 93 % on room air, blood pressure 124/78 mmHg. Her left calf is 3 cm wider than the " +
      "right. The chest X-ray is normal. What is the next step?",
  },
  {
    title: "A vomiting baby",
    text: "A five-week-old boy, the first child, has vomited forcefully after every feed for four days. He brings up milk " +
      "without bile and is hungry again at once. He has lost weight and wets few nappies. Sodium 134, potassium 3.1, " +
      "chloride 86 and bicarbonate 34 mmol/l. What explains the blood values, and what is done first?",
  },
  {
    title: "Hives after a biscuit",
    text: "A 24-year-old man ate a peanut biscuit ten minutes ago. He now has hives all over, swollen lips, a hoarse voice " +
      "and wheezing. Pulse 128/min, blood pressure 84/46 mmHg, SpO2 91 % on room air. What comes first?",
  },
  {
    title: "Short of breath on the stairs",
    text: "A 67-year-old man has become short of breath on the stairs. He takes low-dose aspirin, has lost 4 kg in three " +
      "months and has seen no bleeding. Haemoglobin 92 g/l (130 to 170), MCV 71 fl (80 to 100), ferritin 6 µg/l (30 to " +
      "400). What has to be looked for besides giving iron?",
  },
];
