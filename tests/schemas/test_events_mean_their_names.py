"""The sources name eight events and twenty-nine fields; two of the sources describe events by one another's words.

Source 001 (Infobip):  "Tier_Upgrade | When a customer's Tier gets downgraded."
                       "Tier_Downgrade | When a customer's Tier gets upgraded."
                       "Tier Anniversary | When a customer's Tier is about to upgrade based on loyalty available points."
                       "Close to Tier Upgrade | When a customer's Tier completes a year in the same Tier."
Source 002 (Ometria):  has tier_upgrade and tier_downgrade right, and again
                       "tier_anniversary | When a member's tier is about to upgrade based on loyalty available points."
                       "close_to_tier_upgrade | When a member's tier completes a year in same tier."

The *name* is the contract: each event means what it is called.
"""

import pytest

from schemas.events import (
    EVENTS,
    PERSONAL_FIELDS,
    PROFILE_FIELDS,
    CloseToTierUpgrade,
    OptedIn,
    OptedOut,
    PointAccrual,
    PointRedemption,
    TierAnniversary,
    TierChange,
)
from schemas.members import Contact
from schemas.standing import Profile

# The event as sources 001 and 002 call it -> ours, and what it means here.
SEED_EVENTS = [
    ("LOY_OPT_IN", "loy_opt_in", "LOY_OPT_IN", OptedIn, "The member joined the program."),
    ("LOY_OPT_OUT", "loy_opt_out", "LOY_OPT_OUT", OptedOut, "The member left the program."),
    ("LOY_POINT_ACCRUAL", "loy_point_accrual", "LOY_POINT_ACCRUAL", PointAccrual, "Points were earned by a check."),
    ("LOY_POINT_REDEMPTION", "loy_point_redeem", "LOY_POINT_REDEMPTION", PointRedemption, "Reserved points were used."),
    # 001 says "gets downgraded".
    ("Tier_Upgrade", "tier_upgrade", "LOY_TIER_UPGRADE", TierChange, "The member reached a higher tier."),
    # 001 says "gets upgraded".
    ("Tier_Downgrade", "tier_downgrade", "LOY_TIER_DOWNGRADE", TierChange, "The member fell to a lower tier."),
    # 001 and 002 say "is about to upgrade".
    (
        "Tier Anniversary",
        "tier_anniversary",
        "LOY_TIER_ANNIVERSARY",
        TierAnniversary,
        "The member has completed a year in the same tier.",
    ),
    # 001 and 002 say "completes a year in the same Tier".
    (
        "Close to Tier Upgrade",
        "close_to_tier_upgrade",
        "LOY_CLOSE_TO_TIER_UPGRADE",
        CloseToTierUpgrade,
        "The member is about to reach the next tier.",
    ),
]

# The label in sources 001 and 002 -> our field.
SEED_FIELDS = {
    "Loyalty Id": "loyalty_id",
    "First Name": "first_name",
    "Last Name": "last_name",
    "Email Address": "email_address",
    "Active Status": "active_status",
    "Birthday": "birthday",
    "Loyalty anniversary date": "loyalty_anniversary_date",
    "Phone No": "phone_no",
    "Zip Code": "zip_code",
    "Opt-in Status": "opt_in_status",
    "Opt-in Date": "opt_in_date",
    "Available Points": "available_points",
    "Earned Points": "earned_points",
    "Used Points": "used_points",
    "Hold Points": "hold_points",
    "Next Expiring Points": "next_expiring_points",
    "Points Expiration Date": "points_expiration_date",
    "Expired Points": "expired_points",
    "Current Tier": "current_tier",
    "Next Tier": "next_tier",
    "Points Req For Next Tier": "points_req_for_next_tier",
    "Tier Achieve Date": "tier_achieve_date",
    "Available Rewards": "available_rewards",
    "Points Req For Next Reward": "points_req_for_next_reward",
    "Highest Available Reward": "highest_available_reward",
    "First Loyalty Activity Date": "first_loyalty_activity_date",
    "Last Loyalty Activity Date": "last_loyalty_activity_date",
    "First Purchase Date": "first_purchase_date",
    "Last Purchase Date": "last_purchase_date",
}

# Where contact data keeps the personal ones.
CONTACT_FIELDS = {"email_address": "email", "phone_no": "phone"}


@pytest.mark.parametrize(("infobip", "ometria", "name", "data", "meaning"), SEED_EVENTS, ids=lambda value: str(value)[:24])
def test_an_event_means_what_its_name_says(infobip: str, ometria: str, name: str, data: type, meaning: str) -> None:
    assert EVENTS[name] == (data, meaning)
    ours = name.removeprefix("LOY_").lower()
    assert infobip.lower().replace(" ", "_").removeprefix("loy_") == ours
    assert ometria.removeprefix("loy_") in {ours, "point_redeem"}


def test_upgrade_and_anniversary_are_not_swapped_by_what_they_carry() -> None:
    assert {"years"} == set(TierAnniversary.model_fields) - set(OptedIn.model_fields) - {"tier"}
    assert {"next_tier", "missing", "metric"} == set(CloseToTierUpgrade.model_fields) - set(OptedIn.model_fields) - {"tier"}


def test_every_event_has_a_loy_name_and_a_sentence_of_its_own() -> None:
    assert all(name.startswith("LOY_") and name == name.upper() for name in EVENTS)
    assert len({meaning for _, meaning in EVENTS.values()}) == len(EVENTS)


def test_the_profile_has_exactly_the_29_fields_of_the_sources() -> None:
    assert len(SEED_FIELDS) == 29
    assert sorted(PROFILE_FIELDS) == sorted(SEED_FIELDS.values())


def test_a_field_is_personal_or_carried_on_events_never_both() -> None:
    assert set(PERSONAL_FIELDS) & set(Profile.model_fields) == set()
    assert {CONTACT_FIELDS.get(name, name) for name in PERSONAL_FIELDS} <= set(Contact.model_fields)
