"""`marketplace-async referrals`: accounts that signed up by a partner's referral."""

from cyclopts import App

from ..connection import Connection
from ..output import Output
from ..status import may_have_happened

app = App(name="referrals")


@app.command
async def create(
    referral_account_sid: str,
    *,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """Report an account that was referred.

    Parameters
    ----------
    referral_account_sid
        The account, AC...
    """
    async with connection.client() as client:
        with may_have_happened():
            conversion = await client.referral_conversions.create(
                referral_account_sid=referral_account_sid
            )
        await output.record(conversion)
